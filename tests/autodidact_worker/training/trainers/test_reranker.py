"""The reranker: its rows, its loss, that padding changes nothing, and the choices it makes."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.base import Lora
from autodidact_contract.records import AnswerSample, Reranked
from autodidact_contract.stages.answers import Answers, RerankAnswers
from autodidact_store import open_store
from autodidact_worker.answers.reranking import choice
from autodidact_worker.intake import model_files
from autodidact_worker.models import classifier, loading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StoppedError, UserError
from autodidact_worker.runtime.frame import Output
from autodidact_worker.stages.train_reranker import different
from autodidact_worker.training import schedule
from support import online_stages
from support.offline_stages import reranker_config
from support.online_stages import digest
from support.tiny import write_gpt2
from support.worker import Bench

Run = Callable[..., tuple[Path, Output]]

RULES = Answers(rules="robust", kind="number")


def answer(question: int, index: int, text: str, value: str | None = None, **more: Any) -> Any:
    """A sample; right are those that end in an "a"."""
    fields = {
        "id": f"q{question}/{index}",
        "question_id": f"q{question}",
        "prompt": f"{question % 10}?",
        "index": index,
        "text": text,
        "tokens": len(text),
        "finish": "stop",
        "value": value,
        "reason": "ok",
        "correct": text.endswith("a"),
        "gold": "1",
    }
    return AnswerSample(**(fields | more))


def samples(questions: int, each: int = 4) -> list[AnswerSample]:
    """Samples of different lengths, half of them right, and a greedy one of each question."""
    found = []
    for question in range(questions):
        found.append(answer(question, -1, "greedy a", "1"))
        for index in range(each):
            text = "bcdxyz"[: 1 + (question + index) % 6] + "ab"[index % 2]
            found.append(answer(question, index, text, "12"[index % 2]))
    return found


@pytest.fixture
def run(tmp_path: Path, llama: Path) -> Run:
    """Trains a reranker and returns its folder and its output."""

    def call(
        given: list[AnswerSample] | None = None, model: Path = llama, **fields: Any
    ) -> tuple[Path, Output]:
        place = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        where = {k: fields.pop(k) for k in ("store", "stopping", "progress") if k in fields}
        inputs = {"model": model, "samples": place / "samples"}
        inputs["samples"].mkdir(parents=True)
        rows.write_parts(inputs["samples"], "samples", given or samples(12))
        output = online_stages.run(reranker_config(**fields), inputs, place, **where)
        return place / "out", output

    return call


def test_rows_are_the_different_samples() -> None:
    """Equal texts of a question count once, of two questions twice; greedy ones do not count."""
    given = [
        answer(1, -1, "a"),
        answer(1, 0, "b"),
        answer(1, 1, "b"),
        answer(1, 2, "a"),
        answer(2, 0, "b"),
    ]
    assert [row.id for row in different(given)] == ["q1/0", "q1/2", "q2/0"]


def test_an_answer_is_read_as_it_was_written(llama: Path) -> None:
    """Prompt, answer, and the end token if there was one; what is too long loses its end."""
    tokenizer = loading.load_tokenizer(llama)

    def read(limit: int, **more: Any) -> tuple[str, bool]:
        ids, cut = classifier.encode(tokenizer, answer(1, 0, "abc", **more), limit)
        return tokenizer.decode(ids), cut

    assert read(6) == ("1?abc<eos>", False)
    assert read(6, finish="length") == ("1?abc", False)
    assert read(4) == ("1?ab", True)


def test_it_learns_to_tell_right_from_wrong(run: Run) -> None:
    """The loss falls from ln 2 and rows are counted; the result is a safe classifier."""
    out, output = run(epochs=12)
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


def test_the_loss_is_the_mean_over_the_batch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one pass or in four: the gradient and the figure are the same."""
    monkeypatch.setattr(schedule, "WINDOW", 1)
    whole = run(epochs=0.5)[1].metrics["loss"].value
    split = run(epochs=0.5, micro_batch_size=2)[1].metrics["loss"].value
    assert split == pytest.approx(whole, rel=1e-5)


def test_adapters_and_head_are_trained(run: Run) -> None:
    """With lora the adapters and the two rows of the head learn; the result is merged."""
    out, output = run(epochs=12, lora=Lora(rank=4))
    assert output.counts["trainableParameters"] == 2 * 4 * (4 * 64 + 3 * 96) + 2 * 32
    assert output.metrics["loss"].value < 0.3
    loading.load_classifier(out)


@pytest.mark.parametrize("right", [True, False])
def test_one_class_is_refused(run: Run, right: bool) -> None:
    """All right or all wrong: how many of each, and what to do."""
    given = [row.model_copy(update={"correct": right}) for row in samples(3)]
    wanted = "12 are correct and 0 are wrong" if right else "0 are correct and 12 are wrong"
    with pytest.raises(UserError, match=wanted) as caught:
        run(given)
    assert caught.value.reason == "OneClass"


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_a_stopped_training_ends_with_the_same_bytes(
    run: Run, tmp_path: Path, lora: Lora | None
) -> None:
    """The head is random, but from the seed; the next attempt ends as an undisturbed one."""
    (tmp_path / "store").mkdir()
    settings = {"store": open_store(str(tmp_path / "store")), "lora": lora, "dropout": 0.1}
    undisturbed = run(**settings)
    seen: list[int] = []
    with pytest.raises(StoppedError):
        run(
            progress=lambda step, *_, **__: seen.append(step),
            stopping=lambda: len(seen) >= 3,
            **settings,
        )
    again = run(**settings)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padding_changes_no_probability(
    run: Run, llama: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone or beside longer rows a row has the same probability, in the order of the rows."""
    out, _ = run(model=llama if kind == "llama" else write_gpt2(tmp_path / "gpt2"), epochs=12)
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


def test_the_best_candidate_is_chosen() -> None:
    """The highest probability, of equals the first; without a candidate the question is wrong."""
    group = [answer(1, 0, "xb", "2"), answer(1, 1, "xa", "1"), answer(1, 2, "ya", "1")]
    found = choice(group, group, [0.2, 0.7, 0.7], RULES)
    assert found == Reranked(
        question_id="q1", gold="1", value="1", correct=True, probability=0.7, candidates=3
    )
    none = choice([answer(2, 0, "b")], [], [], RULES)
    assert none == Reranked(
        question_id="q2", gold="1", value=None, correct=False, probability=None, candidates=0
    )


def test_reranking_does_not_depend_on_shards(run: Run, new_bench: Callable[[str], Bench]) -> None:
    """Four parts in 1, 2 and 4 shards: the same digest, counts and accuracy over all questions."""
    out, _ = run(epochs=12)
    given = samples(8)
    # Nothing to choose from: wrong, and counted.
    given += [answer(99, -1, "greedy a", "1"), answer(99, 0, "nothing")]
    parts = {
        f"samples-{part:05d}.jsonl": b"".join(
            row.model_dump_json(by_alias=True).encode() + b"\n"
            for row in given
            if int(row.question_id[1:]) % 4 == part
        )
        for part in range(4)
    }
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        inputs = {"samples": bench.put("sample", parts), "reranker": bench.put("import", out)}
        config = RerankAnswers(answers=RULES, max_length=32)
        found.append(bench.result(bench.run(config, shards=shards, **inputs)))
    assert len({artifact.digest for artifact in found}) == 1
    for artifact in found:
        # Four samples a question, all different; the right ones are told from the wrong ones.
        assert artifact.counts == {"questions": 9, "candidates": 32, "truncated": 0}
        assert artifact.metrics["rerankAccuracy"] == pytest.approx(8 / 9)


def test_a_language_model_is_no_reranker(llama: Path) -> None:
    """Its head would be random numbers."""
    with pytest.raises(UserError, match="is a LlamaForCausalLM, not a classifier") as caught:
        loading.load_classifier(llama)
    assert caught.value.reason == "InvalidModel"
