from pathlib import Path

import pytest
import trl

from autodidact_worker.intake import chat_templates

pytestmark = pytest.mark.training

TEMPLATES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_published_templates_pass(path: Path) -> None:
    """The chat templates that TRL knows render a prompt, in time and without a forbidden name."""
    assert 0 < len(chat_templates._render(path.read_text())) < chat_templates._MAX_RENDERED


def test_there_are_published_templates() -> None:
    """TRL brings those of the families in use."""
    assert {"llama3", "qwen3", "gemma3", "deepseekv3"} <= {path.stem for path in TEMPLATES}
