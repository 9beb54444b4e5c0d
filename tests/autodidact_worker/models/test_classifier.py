from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.models import classifier, loading
from autodidact_worker.runtime.errors import UserError
from support.reranked import Train, answer
from support.tiny import write_gpt2


def test_an_answer_is_read_as_it_was_written(llama: Path) -> None:
    """Prompt, answer, and the end token if there was one; what is too long loses its end."""
    tokenizer = loading.load_tokenizer(llama)

    def read(limit: int, **more: Any) -> tuple[str, bool]:
        ids, cut = classifier.encode(tokenizer, answer(1, 0, "abc", **more), limit)
        return tokenizer.decode(ids), cut

    assert read(6) == ("1?abc<eos>", False)
    assert read(6, finish="length") == ("1?abc", False)
    assert read(4) == ("1?ab", True)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padding_changes_no_probability(
    train: Train, llama: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone or beside longer rows a row has the same probability, in the order of the rows."""
    out, _ = train(model=llama if kind == "llama" else write_gpt2(tmp_path / "gpt2"), epochs=12)
    model, tokenizer = loading.load_classifier(out)
    texts = ("xb", "bcdxyzbcdxyzbcdxyza", "ya", "bcdb")
    given = [classifier.encode(tokenizer, answer(1, 0, text), 64).ids for text in texts]
    pad = model.config.pad_token_id
    together = classifier.probabilities(model, given, pad)
    alone = [classifier.probabilities(model, [ids], pad)[0] for ids in given]
    assert together == pytest.approx(alone, abs=1e-5)
    assert max(together) - min(together) > 0.01
    monkeypatch.setattr("autodidact_worker.models.batches.BATCH_TOKENS", 50)  # two batches
    assert classifier.probabilities(model, given, pad) == pytest.approx(alone, abs=1e-5)


def test_a_language_model_is_no_reranker(llama: Path) -> None:
    """Its head would be random numbers."""
    with pytest.raises(UserError, match="is a LlamaForCausalLM, not a classifier") as caught:
        loading.load_classifier(llama)
    assert caught.value.reason == "InvalidModel"
