"""The reranker: its rows, its loss, that padding changes nothing, and the choices it makes."""

import json
import math
from pathlib import Path

import pytest

from autodidact_contract.base import Lora
from autodidact_store import open_store
from autodidact_worker.intake import model_files
from autodidact_worker.models import classifier, loading
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.training import schedule
from support.online_stages import digest
from support.reranked import Train, samples


def test_it_learns_to_tell_right_from_wrong(train: Train) -> None:
    """The loss falls from ln 2 and rows are counted; the result is a safe classifier."""
    out, output = train(epochs=12)
    losses = [
        json.loads(line)["loss"] for line in (out / model_files.CURVE).read_text().splitlines()
    ]
    assert losses[0] == pytest.approx(math.log(2), abs=0.05)
    assert output.metrics["loss"].value < 0.1
    counts = output.counts
    assert (counts["rows"], counts["correct"], counts["truncated"]) == (48, 24, 0)
    model_files.check(out)
    model, tokenizer = loading.load_classifier(out)
    assert model.config.id2label == {0: "wrong", 1: "correct"}
    encoded = [classifier.encode(tokenizer, row, 32).ids for row in samples(3) if row.index >= 0]
    found = classifier.probabilities(model, encoded, model.config.pad_token_id)
    assert [value > 0.5 for value in found] == [True, False] * 6


def test_the_loss_is_the_mean_over_the_batch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one pass or in four: the gradient and the figure are the same."""
    monkeypatch.setattr(schedule, "WINDOW", 1)
    whole = train(epochs=0.5)[1].metrics["loss"].value
    split = train(epochs=0.5, micro_batch_size=2)[1].metrics["loss"].value
    assert split == pytest.approx(whole, rel=1e-5)


def test_adapters_and_head_are_trained(train: Train) -> None:
    """With lora the adapters and the two rows of the head learn; the result is merged."""
    out, output = train(epochs=12, lora=Lora(rank=4))
    assert output.counts["trainableParameters"] == 2 * 4 * (4 * 64 + 3 * 96) + 2 * 32
    assert output.metrics["loss"].value < 0.3
    loading.load_classifier(out)


@pytest.mark.thorough
@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_a_stopped_training_ends_with_the_same_bytes(
    train: Train, tmp_path: Path, lora: Lora | None
) -> None:
    """The head is random, but from the seed; the next attempt ends as an undisturbed one."""
    (tmp_path / "store").mkdir()
    settings = {"store": open_store(str(tmp_path / "store")), "lora": lora, "dropout": 0.1}
    undisturbed = train(**settings)
    seen: list[int] = []
    with pytest.raises(StoppedError):
        train(
            progress=lambda step, *_, **__: seen.append(step),
            stopping=lambda: len(seen) >= 3,
            **settings,
        )
    again = train(**settings)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]
