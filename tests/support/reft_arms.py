"""Arms of a ReFT run with few questions."""

from support.reft_report_inputs import ReftRun, sample

NARROW = "\u202f"


def arm_of(run: ReftRun, arm: str, right: str, votes: tuple[str, ...] = ()) -> None:
    """Adds an arm's answers: a plus for each question with a right greedy answer, likewise votes.

    Args:
        run: Where to.
        arm: The arm.
        right: One sign a question.
        votes: One sign a sample, for each question.
    """
    answers = []
    for number, sign in enumerate(right):
        signs = sign + (votes[number] if votes else "")
        answers += [
            sample(f"q{number}", index - 1, {"+": "7", "-": "8", "?": None}[sign], "7")
            for index, sign in enumerate(signs)
        ]
    run.answer(arm, answers)
