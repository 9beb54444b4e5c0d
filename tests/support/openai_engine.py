"""The engine openai on a server that a test scripts."""

from pathlib import Path

from autodidact_contract.stages.base import Sampling
from autodidact_worker import generation
from autodidact_worker.generation import Generator, Request

GREEDY = Sampling(temperature=0, top_p=1, max_new_tokens=8)


def requests(count: int, n: int = 1) -> list[Request]:
    """Prompts of different lengths."""
    return [Request(id=str(i), prompt="abc" * (i + 1), n=n, seed_key=str(i)) for i in range(count)]


def opened(path: Path, url: str, credentials: Path | None = None) -> Generator:
    """A generator as a stage gets it."""
    environ = {"AUTODIDACT_ENGINE": "openai", "AUTODIDACT_ENGINE_URL": url}
    if credentials:
        environ["AUTODIDACT_ENGINE_CREDENTIALS"] = str(credentials)
    return generation.load(path, environ)
