"""The built-in task: its rows, its oracle and its model."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from autodidact_contract.records import Evaluation
from autodidact_worker.judging import judgement, rubrics
from autodidact_worker.models import loading
from autodidact_worker.toys import copying

RUBRIC = rubrics.get("toy-copy-v1")


@pytest.mark.parametrize(
    ("prompt", "reply", "score"),
    [
        ("Aabcde:", "abcde", 5),
        ("Aabcde:", "abcaa", 3),
        ("Aabcde:", "aaaaa", 1),
        ("Aabcde:", "bcdef", 0),
        ("Aabcde:", "", 0),
        ("Aabcde:", "abcdeabcde", 5),
        ("Aabcde", "abcde", 0),
        ("Pabcde:", "abcde", 0),
        ("Aabcd:", "abcd", 0),
    ],
)
def test_quality_counts_the_letters_in_their_place(prompt: str, reply: str, score: int) -> None:
    """The oracle counts right letters, and gives nothing to prompts of another form."""
    assert copying.quality(prompt, reply) == score


def test_judgement_marks_each_letter() -> None:
    """A judgement is one mark a letter and the number of right ones."""
    assert copying.judgement("Aabcde:", "abxde") == "yynyy=4"
    assert copying.judgement("Aabcde:", "ab") == "yynnn=2"


def test_forms_are_those_of_the_rubric() -> None:
    """Seed rows for prompt writing look exactly as the rubric asks later."""
    shown = [f"A{letter * 5}:" for letter in copying.LETTERS]
    asked = rubrics.fill(RUBRIC.prompts, {"demonstrations": RUBRIC.join(shown)})
    assert asked == copying.writing_prompt(shown)
    assert judgement.render(RUBRIC, "Aabcde:", "abcaa") == "JAabcde:|abcaa:"


def test_seed_rows_have_the_asked_mixture() -> None:
    """About 35 % of the replies are ideal, and every score occurs among the judgements."""
    rows = copying.instructions(0)
    copies = [row for row in rows if row.prompt.startswith("A")]
    assert (len(copies), len(rows)) == (3200, 3550)
    ideal = sum(copying.quality(row.prompt, row.response) == 5 for row in copies) / len(copies)
    # 0.35 x 0.956**5, for a slipped letter is right again in one case of eight.
    assert ideal == pytest.approx(0.28, abs=0.03)
    writing = [row for row in rows if row.prompt.startswith("P")]
    assert {len(row.prompt.split()) for row in writing} == {8}
    scores = Counter(row.score for row in copying.evaluations(0))
    assert sorted(scores) == [0, 1, 2, 3, 4, 5]
    assert min(scores.values()) > 100
    assert sum(scores.values()) == 1630


def test_every_judgement_parses_to_its_score() -> None:
    """The rubric reads each seed judgement as the score of its row."""
    rows: list[Evaluation] = copying.evaluations(3)
    votes = [judgement.vote(RUBRIC, row.judgement, "stop") for row in rows]
    assert [vote.score for vote in votes] == [row.score for row in rows]


def test_held_out_ranks_follow_the_oracle() -> None:
    """Rank 1 is the best of four replies of different quality."""
    rows = copying.held_out(0)
    assert len(rows) == 256
    for row in rows:
        scores = [copying.quality(row.prompt, reply) for reply in row.replies]
        by_rank = [score for _, score in sorted(zip(row.ranks, scores, strict=True))]
        assert sorted(row.ranks) == [1, 2, 3, 4]
        assert by_rank == sorted(set(scores), reverse=True)


def test_tokenizer_knows_every_character(tmp_path: Path) -> None:
    """All rows and all judge prompts are encoded without an unknown token and come back."""
    copying.write_model(tmp_path, 0)
    tokenizer = loading.load_tokenizer(tmp_path)
    texts = [row.prompt + row.response for row in copying.instructions(0)[:500]]
    texts += [
        judgement.render(RUBRIC, row.prompt, row.response) + row.judgement
        for row in copying.evaluations(0)[:500]
    ]
    for text in texts:
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
    assert max(len(tokenizer(text).input_ids) for text in texts) < copying.POSITIONS


@pytest.mark.training
def test_model_bytes_depend_on_the_seed_alone(tmp_path: Path) -> None:
    """Two processes write the same bytes for a seed, and other weights for another."""
    program = (
        "import sys; from pathlib import Path; from autodidact_worker.toys import copying\n"
        "copying.write_model(Path(sys.argv[1]), 0)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "again")], check=True)
    copying.write_model(tmp_path / "first", 0)
    copying.write_model(tmp_path / "other", 1)
    first, other = _digests(tmp_path / "first"), _digests(tmp_path / "other")
    assert _digests(tmp_path / "again") == first
    assert {n for n in first if first[n] != other[n]} == {"model.safetensors"}


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
