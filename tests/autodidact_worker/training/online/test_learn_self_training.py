"""Online self-training: what its loss is made of, and that a stop changes nothing."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autodidact_store import open_store
from autodidact_worker.answers.grading import Grade
from autodidact_worker.intake import model_files
from autodidact_worker.models import loading
from autodidact_worker.models.policy import Policy
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.online.learn_self_training import SelfTraining
from autodidact_worker.training.online.rollouts import Answer
from autodidact_worker.training.start import Row
from support import online_stages

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that is right now and then."""
    return online_stages.write_model(tmp_path_factory.mktemp("six"))


class _Engine:
    """Holds the gradient that a step would take."""

    def __init__(self, network: Policy, accumulation: int) -> None:
        self.network, self.layout = network, Layout(gpu=False)
        self.device = torch.device("cpu")
        self._accumulation = accumulation
        self.rates: list[float] = []

    def __call__(self, batch: Any) -> Any:
        return self.network(batch)

    def accumulating(self, *, last: bool) -> Any:  # noqa: ARG002
        return torch.enable_grad()

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self._accumulation).backward()

    def step(self, rates: list[float]) -> float:
        self.rates = rates
        return 1.0


TARGETS = ([4, 1], [3, 4, 4, 1], [3, 1], [4, 4, 1])
SAMPLED = ((4, 4, 3), (4, 1), (3, 3), (4, 1))
RIGHT = (True, False, False, True)


@pytest.mark.parametrize("right", [RIGHT, (False,) * 4])
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_half_the_loss_is_right_samples_and_half_is_given(
    model: Path, micro: int, right: tuple[bool, ...]
) -> None:
    """Each half is a mean over its tokens; without a right sample there is only the given half."""
    network = Policy(loading._load(model).model)
    prompts = [online_stages.PROBLEMS[i].prompt for i in range(4)]
    tokenizer = loading.load_tokenizer(model)
    ids = [tokenizer(prompt).input_ids for prompt in prompts]
    answers = [
        Answer(
            problem=online_stages.PROBLEMS[i],
            prompt=ids[i],
            ids=SAMPLED[i],
            text="",
            cut=False,
            grade=Grade(value="1", reason="ok", correct=right[i]),
            reward=float(right[i]),
        )
        for i in range(4)
    ]
    golden = {f"q{i + 1}": Row(prompt=ids[i], targets=(TARGETS[i],), cut=False) for i in range(4)}

    def mean(texts: list[tuple[list[int], Any]]) -> torch.Tensor:
        logs = []
        for prompt, text in texts:
            found = network.model(torch.tensor([[*prompt, *text]])).logits[0].log_softmax(-1)
            logs += [found[len(prompt) - 1 + t, token] for t, token in enumerate(text)]
        return torch.stack(logs).mean()

    wanted = -0.5 * mean(list(zip(ids, TARGETS, strict=True)))
    good = [(ids[i], SAMPLED[i]) for i in range(4) if right[i]]
    wanted = wanted - (0.5 * mean(good) if good else 0)
    wanted.backward()
    gradients = [p.grad.clone() for p in network.parameters()]  # type: ignore[union-attr]
    network.zero_grad()

    engine: Any = _Engine(network, 4 // micro)
    config: Any = SimpleNamespace(passes=1)
    steps: Any = SimpleNamespace(rate=0.5, done=lambda **figures: said.update(figures))
    said: dict[str, float] = {}
    plan: Any = SimpleNamespace(step=4, micro=micro)
    SelfTraining(engine, golden, 0, config, plan).learn(answers, steps)

    assert said["loss"] == pytest.approx(wanted.item(), rel=1e-5)
    assert engine.rates == [0.5]
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-6)  # type: ignore[arg-type]


def test_a_stopped_training_goes_on(tmp_path: Path, model: Path) -> None:
    """Stopped after its first rollout and resumed, it ends with the bytes of an undisturbed one."""
    inputs = {"model": model, **online_stages.write_inputs(tmp_path / "inputs")}
    config = online_stages.st_config()
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    quiet = online_stages.run(config, inputs, tmp_path / "quiet")
    stop = online_stages.Stop()
    more = {"store": store, "stopping": stop.asked, "progress": stop.progress}
    with pytest.raises(StoppedError):
        online_stages.run(config, inputs, tmp_path / "first", **more)
    again = online_stages.run(config, inputs, tmp_path / "second", store=store)
    assert again == quiet
    digests = [online_stages.digest(tmp_path / name / "out") for name in ("quiet", "second")]
    assert digests[0] == digests[1]
    model_files.check(tmp_path / "quiet" / "out")


def test_it_learns_the_given_targets(tmp_path: Path, model: Path) -> None:
    """The loss falls to less than half in twenty passes over the questions."""
    inputs = {"model": model, **online_stages.write_inputs(tmp_path / "inputs")}
    config = online_stages.st_config(epochs=20, learning_rate=1e-2, schedule="constant")
    output = online_stages.run(config, inputs, tmp_path / "run")
    lines = (tmp_path / "run" / "out" / model_files.CURVE).read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
    assert losses[-1] < losses[0] / 2
    assert output.metrics["accuracy"].value is not None
    assert output.metrics["accuracy"].value >= 0.5
