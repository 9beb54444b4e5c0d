"""Word problems of one or two operations, with reasoning in two styles. A function of the seed.

A patient annotator writes a sentence for each operation, a terse one a single line of arithmetic;
both lead to the answer, which ``check`` makes sure of.
"""

import operator
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autodidact_contract.records import Evaluation, Instruction, Question, RankedReplies

NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jonas")
THINGS = ("apples", "books", "cards", "coins", "marbles", "pencils", "shells", "stamps", "stickers")
MOST = 60
"""No number in a problem or its solution is larger, and none is below 1."""

PATIENT_SHARE = 0.5
"""Share of the rows with a sentence for each operation."""

_APPLY: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


@dataclass(frozen=True, kw_only=True)
class Template:
    """A kind of problem.

    Attributes:
        text: With {name}, {other}, {things} and the numbers {a}, {b} and, of two operations, {c}.
        operators: The first joins a and b, the second its result and c.
        steps: A sentence for each operation, which ``{x}`` (the arithmetic) completes.
    """

    text: str
    operators: str
    steps: tuple[str, ...]


TEMPLATES = (
    Template(
        text="{name} has {a} {things}. {other} gives {name} {b} more. How many {things} does "
        "{name} have now?",
        operators="+",
        steps=("{name} has {a} {things} and gets {b} more, so {x}.",),
    ),
    Template(
        text="{name} has {a} {things} and loses {b} of them. How many {things} are left?",
        operators="-",
        steps=("{name} starts with {a} {things} and loses {b}, so {x}.",),
    ),
    Template(
        text="{name} has {a} boxes with {b} {things} in each box. How many {things} are there?",
        operators="*",
        steps=("There are {a} boxes of {b} {things}, so {x}.",),
    ),
    Template(
        text="{name} has {a} {things}. {name} finds {b} more and then gives {c} to {other}. How "
        "many {things} does {name} have now?",
        operators="+-",
        steps=("After finding {b} more there are {x}.", "After giving away {c} there are {x}."),
    ),
    Template(
        text="{name} had {a} {things}, gave {b} to {other} and then bought {c} new ones. How many "
        "{things} does {name} have?",
        operators="-+",
        steps=("After giving away {b} there are {x}.", "After buying {c} there are {x}."),
    ),
    Template(
        text="{name} buys {a} bags with {b} {things} each and already had {c} {things}. How many "
        "{things} does {name} have in all?",
        operators="*+",
        steps=("The bags hold {x} {things}.", "With the {c} from before there are {x}."),
    ),
    Template(
        text="{name} fills {a} jars with {b} {things} each and gives {c} {things} to {other}. How "
        "many {things} are left?",
        operators="*-",
        steps=("The jars hold {x} {things}.", "After giving away {c} there are {x}."),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A word problem and both ways to solve it."""

    text: str
    terse: str
    patient: str
    answer: int


def problems(seed: int, count: int) -> list[Problem]:
    """Returns so many different problems."""
    rng = random.Random(f"{seed}/problems")
    found: dict[str, Problem] = {}
    while len(found) < count:
        made = _problem(rng, rng.choice(TEMPLATES))
        if made:
            found[made.text] = made
    return list(found.values())


def check(reasoning: str, answer: str) -> bool:
    """Returns whether every equation in a reasoning holds, and the last one gives the answer."""
    equations = re.findall(r"(\d+) ([+*-]) (\d+) = (\d+)", reasoning)
    return (
        bool(equations)
        and all(_APPLY[sign](int(a), int(b)) == int(result) for a, sign, b, result in equations)
        and equations[-1][3] == answer
    )


def questions(found: Sequence[Problem], split: str, seed: int) -> list[Question]:
    """Returns problems as rows of a ReFTRun; each has one of the two styles."""
    rng = random.Random(f"{seed}/{split}/styles")
    rows = []
    for number, problem in enumerate(found):
        patient = rng.random() < PATIENT_SHARE
        rows.append(
            Question(
                id=f"{split}-{number:04d}",
                question=problem.text,
                reasoning=problem.patient if patient else problem.terse,
                answer=str(problem.answer),
            )
        )
    return rows


def instructions(found: Sequence[Problem], seed: int) -> list[Instruction]:
    """Returns problems as seed rows of a SelfRewardRun, with replies of mixed care."""
    rng = random.Random(f"{seed}/instructions")
    return [
        Instruction(prompt=problem.text, response=_reply(problem, rng.choice((3, 4, 5, 5))))
        for problem in found
    ]


def evaluations(found: Sequence[Problem], seed: int) -> list[Evaluation]:
    """Returns judged replies of every quality."""
    rng = random.Random(f"{seed}/evaluations")
    rows = []
    for problem in found:
        score = rng.choice(tuple(_JUDGEMENTS))
        rows.append(
            Evaluation(
                prompt=problem.text,
                response=_reply(problem, score),
                judgement=f"{_JUDGEMENTS[score]}\nScore: {score}",
                score=score,
            )
        )
    return rows


def ranked(found: Sequence[Problem], seed: int) -> list[RankedReplies]:
    """Returns problems with three replies each, in no order, and their ranks."""
    rng = random.Random(f"{seed}/ranked")
    rows = []
    for problem in found:
        scores = rng.sample(tuple(_JUDGEMENTS), 3)
        best = sorted(scores, reverse=True)
        rows.append(
            RankedReplies(
                prompt=problem.text,
                replies=tuple(_reply(problem, score) for score in scores),
                ranks=tuple(best.index(score) + 1 for score in scores),
            )
        )
    return rows


_JUDGEMENTS = {
    5: "The reply shows every step, each one right, and ends in the right number.",
    4: "The answer is right and the arithmetic is shown, though it is not explained.",
    3: "The number is right, but nothing says how it comes about.",
    1: "The reply is about the question, but its number is wrong.",
    0: "The reply says nothing about the question.",
}
"""What a judge says of a reply of each quality, by its score."""


def _reply(problem: Problem, score: int) -> str:
    ending = f"The answer is {problem.answer}."
    return {
        5: f"{problem.patient} {ending}",
        4: f"{problem.terse}. {ending}",
        3: ending,
        1: f"The answer is {problem.answer + 7}.",
        0: "I like to think about the weather.",
    }[score]


def _problem(rng: random.Random, template: Template) -> Problem | None:
    """Returns a problem; None where a number came out too small or too large."""
    name, other = rng.sample(NAMES, 2)
    numbers = [rng.randint(2, 9) if "*" in template.operators else rng.randint(3, 30)]
    value, equations = numbers[0], []
    for sign in template.operators:
        operand = rng.randint(2, 9) if sign == "*" else rng.randint(2, 20)
        result = _APPLY[sign](value, operand)
        if not 1 <= result <= MOST:
            return None
        equations.append(f"{value} {sign} {operand} = {result}")
        numbers.append(operand)
        value = result
    words = {"name": name, "other": other, "things": rng.choice(THINGS)}
    words |= dict(zip("abc", map(str, numbers), strict=False))
    sentences = [
        step.format(**words, x=equation)
        for step, equation in zip(template.steps, equations, strict=True)
    ]
    return Problem(
        text=template.text.format(**words),
        terse=", ".join(equations),
        patient=" ".join(sentences),
        answer=value,
    )
