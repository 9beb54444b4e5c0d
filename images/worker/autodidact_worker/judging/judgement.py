"""Writes what the judge is asked, and reads its answers. Pure.

Source: arXiv 2401.10020, section 2.1 and figure 2 (additive score, reasoning first, score last) and
section 3.1.3 (mean of several sampled judgements). The paper is silent about answers that cannot be
read: here they are dropped, counted by reason, and a reply with too few valid ones has no score.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from autodidact_contract.artifacts import VOTES
from autodidact_contract.records import Evaluation, Reason, Vote
from autodidact_contract.stages.base import RUBRICS
from autodidact_worker.judging import rubrics
from autodidact_worker.judging.rubrics import Rubric, fill
from autodidact_worker.runtime.errors import UserError

Preference = Literal["A", "B", "tie"]

_TAGGED = re.compile(r"<response>.*?(?:</response>|\Z)", re.IGNORECASE | re.DOTALL)
_BLOCK_QUOTE = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
# A quotation within a line. One that is the whole line is the judge quoting the asked-for form.
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|„[^“”\n]*[“”]")
_VERDICT = re.compile(
    r"\bverdict[ \t]*[*_]*[ \t]*:[*_\[( \t]*(?:(?:reply|response|assistant|judge?ment)[ \t]+)?"
    r"(?P<better>(?:a[ \t]+)?tie|a|b)\b",
    re.IGNORECASE,
)


def render(rubric: Rubric, prompt: str, response: str) -> str:
    """Returns the judge's prompt for one reply."""
    return fill(rubric.judge, {"prompt": prompt, "response": response})


def render_pair(rubric: Rubric, prompt: str, first: str, second: str) -> str:
    """Returns the prompt that compares two replies.

    Raises:
        ValueError: The rubric has no pairwise form.
    """
    if rubric.pairwise is None:
        raise ValueError(f"rubric {rubric.name} cannot compare replies; judge by its oracle")
    return fill(rubric.pairwise, {"prompt": prompt, "a": first, "b": second})


def vote(
    rubric: Rubric, text: str, finish: Literal["stop", "length"], *, fractional: bool = False
) -> Vote:
    """Returns a judgement with the score it ends in, or the reason why it has none.

    Args:
        rubric: Scale and form of the score.
        text: Only what the judge wrote, never its prompt.
        finish: Whether the judge ended by itself or was cut off.
        fractional: Whether 4.5 is a score.
    """
    score, reason = _parse(rubric, text, cut=finish == "length", fractional=fractional)
    return Vote(text=text, score=score, reason=reason)


def _parse(
    rubric: Rubric, text: str, *, cut: bool, fractional: bool
) -> tuple[float | None, Reason]:
    # NFKC makes full-width digits and colons plain ones.
    own = without_quotations(unicodedata.normalize("NFKC", text))
    found = None
    for found in rubric.score.finditer(own):  # noqa: B007 - the last one decides
        pass
    # A score at the very end of a text that was cut may have lost a digit.
    if cut and (found is None or found.end() >= len(own.rstrip())):
        return None, "truncated"
    if found is None or found["range"]:
        return None, "no-score"
    if found["denominator"] and int(found["denominator"]) != rubric.high:
        return None, "bad-denominator"
    value = float(found["number"].replace("\u2212", "-").replace(",", "."))
    if not rubric.low <= value <= rubric.high:
        return None, "out-of-range"
    if not fractional and not value.is_integer():
        return None, "fraction"
    return value, "ok"


def without_quotations(text: str) -> str:
    """Returns the text without what the judge quotes from the reply, as far as it can be told."""
    text = _BLOCK_QUOTE.sub("", _TAGGED.sub("", text))
    return "\n".join(
        line if _QUOTED.fullmatch(line.strip()) else _QUOTED.sub("", line)
        for line in text.split("\n")
    )


def check_score(row: Evaluation, name: str) -> None:
    """Refuses a judgement that does not end in its score: the judge would learn the wrong one.

    Args:
        row: The judgement, of a rubric that is not known.
        name: What the row is called in the error.

    Raises:
        UserError: ``InvalidData``.
    """
    votes = [
        vote(rubrics.get(rubric), row.judgement, "stop", fractional=True) for rubric in RUBRICS
    ]
    scores = [one.score for one in votes if one.score is not None]
    if row.score not in scores:
        said = f"ends in the score {scores[0]:g}" if scores else "has no score that can be read"
        raise UserError(
            "InvalidData",
            f"{name}: score is {row.score:g} but its judgement {said}; correct the row, or end the "
            "judgement in its score as the rubric wants it",
        )


def mean_score(votes: Sequence[Vote], min_valid: int) -> float | None:
    """Returns the mean of the valid votes, None when there are fewer than ``min_valid`` or none."""
    scores = [vote.score for vote in votes if vote.score is not None]
    if len(scores) < max(1, min_valid):
        return None
    return sum(scores) / len(scores)


def counts(votes: Iterable[Vote]) -> Counter[str]:
    """Returns how many votes there are, can be read, and give each score.

    The score's distribution is kept as counts (``votes-<score>``), for those of shards add up;
    its entropy does not.
    """
    found: Counter[str] = Counter()
    for one in votes:
        found["judgements"] += 1
        found["parsed" if one.reason == "ok" else f"invalid-{one.reason}"] += 1
        if one.score is not None:
            found[f"{VOTES}{one.score:g}"] += 1
    return found


def verdict(text: str) -> Preference | None:
    """Returns the verdict a comparison ends in, the last one if there are several."""
    found = _VERDICT.findall(without_quotations(unicodedata.normalize("NFKC", text)))
    if not found:
        return None
    last = found[-1].lower()
    return "tie" if last.endswith("tie") else "A" if last == "a" else "B"
