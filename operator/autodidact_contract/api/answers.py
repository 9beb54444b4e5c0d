"""How an answer is read out of a completion, and when it is right: what a user sets."""

from typing import Any, Literal

from autodidact_contract.api.rules import Rule
from autodidact_contract.base import Schema, doc

NOT_STATED = "not stated in arXiv 2401.08967; chosen here"
CODE = "the published code of arXiv 2401.08967"


class AnswerFields(Schema):
    """How an answer is read, and when it is right."""

    rules: Literal["robust", "rcCompat"] = doc(
        "robust",
        "robust reads what people mean ($18, 1,000, 3/4) and compares with a relative tolerance; "
        "rcCompat is the published code to the letter, for comparing with its numbers.",
        CODE,
    )
    kind: Literal["number", "choice", "text"] = doc(
        "number", "What an answer is: a number, an option's letter, or a text.", CODE
    )
    percent: Literal["reject", "strip"] = doc(
        "reject", 'Whether "18%" can be read as 18 (robust only).', NOT_STATED
    )
    latex: bool = doc(
        False,
        "Whether texts are compared as formulas as well, by math-verify (kind text and rules "
        "robust only); a few milliseconds each.",
        NOT_STATED,
    )
    program_seconds: float = doc(
        10.0, "Wall clock limit of one program, for reasoning program.", CODE, gt=0, le=600
    )


def _latex_is_text(spec: Any) -> bool:
    """Returns whether the rule holds, of a spec with the field answers."""
    fields: AnswerFields = spec.answers
    return not fields.latex or (fields.kind, fields.rules) == ("text", "robust")


LATEX: Rule[Any] = Rule(
    message="answers.latex needs answers.kind text and answers.rules robust",
    cel="!self.answers.latex || self.answers.kind == 'text' && self.answers.rules == 'robust'",
    holds=_latex_is_text,
)
