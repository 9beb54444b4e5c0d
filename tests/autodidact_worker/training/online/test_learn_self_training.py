"""Online self-training: what its loss is made of, and that a stop changes nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autodidact_worker.answers.grading import Grade
from autodidact_worker.models import loading
from autodidact_worker.models.policy import Policy
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.online.learn_self_training import SelfTraining
from autodidact_worker.training.online.rollouts import Answer
from autodidact_worker.training.start import Row
from support import online_stages

pytestmark = pytest.mark.training


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
    online_model: Path, micro: int, right: tuple[bool, ...]
) -> None:
    """Each half is a mean over its tokens; without a right sample there is only the given half."""
    network = Policy(loading._load(online_model).model)
    prompts = [online_stages.PROBLEMS[i].prompt for i in range(4)]
    tokenizer = loading.load_tokenizer(online_model)
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
