from pathlib import Path
from typing import Any

import pytest
import torch

from autodidact_worker.models import loading
from autodidact_worker.runtime import rows
from autodidact_worker.training import schedule
from autodidact_worker.training.trainers import sft
from support import chain, tiny
from support.training_rows import (
    INSTRUCTIONS,
    SMALL,
    Run,
)


def test_only_targets_are_learned(llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The first loss is the mean negative log-probability of reply and end tokens alone."""
    row = INSTRUCTIONS[1]
    model, tokenizer = loading.load(llama)
    prompt, target = loading.prompt_ids(tokenizer, row.prompt), tokenizer(row.response).input_ids
    ids = [*prompt, *target, tokenizer.eos_token_id]
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    learned = range(len(prompt), len(ids))
    wanted = -sum(float(logs[i - 1, ids[i]]) for i in learned) / len(learned)
    inputs = tmp_path / "instructions"
    inputs.mkdir()
    rows.write(inputs / rows.DATA, [row])
    monkeypatch.setattr(schedule, "WINDOW", 1)
    output = chain.run(
        chain.sft_config(**SMALL), {"model": llama, "instructions": inputs}, tmp_path / "out"
    )
    assert output.metrics["loss"].value == pytest.approx(wanted, rel=1e-5)


def test_sft_learns_replies_and_their_ends_alone(
    run_trainer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model says of prompts and padding has no gradient, whatever these are.

    So no label of a prompt's token, however it were changed, could change what is learned.
    """
    states: list[Any] = []
    given: list[Any] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        output.retain_grad()
        states.append(output)

    loss = sft.Sft.compute_loss

    def compute_loss(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        given.append({name: inputs[name].clone() for name in ("input_ids", "labels")})
        with model.get_decoder().norm.register_forward_hook(keep):  # what the last layer reads
            return loss(self, model, inputs, *rest, **more)

    monkeypatch.setattr(sft.Sft, "compute_loss", compute_loss)
    run_trainer(batch_size=len(INSTRUCTIONS), epochs=1)
    [batch], [seen] = given, states
    learned = seen.grad.abs().sum(-1)[:, :-1] > 0  # of each token but the first, (B, T - 1)
    assert torch.equal(learned, batch["labels"][:, 1:] != -100)
    tokenizer = tiny.character_tokenizer()
    told = {
        tokenizer.decode(ids[1:][kept])
        for ids, kept in zip(batch["input_ids"], learned, strict=True)
    }
    assert told == {f"{row.response}<eos>" for row in INSTRUCTIONS}
