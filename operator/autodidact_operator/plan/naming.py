"""Names of Jobs: known before they exist, so that a status that names one is written once."""

import hashlib

from autodidact_contract.task import RunRef

_RUN_LENGTH = 22
"""What is kept of a run's name; with the rest a Job's stays below 63 characters."""


def job_name(ref: RunRef, job: str, attempt: int) -> str:
    """Returns a Job's name: the same for the same run, job and attempt, at most 63 characters.

    Its Service is called the same, so that it begins with a letter although a run's need not.
    """
    digest = hashlib.sha256(f"{ref.uid}/{job}".encode()).hexdigest()[:6]
    short = ref.name if ref.name[0].isalpha() else f"run-{ref.name}"
    short = short.replace(".", "-")[:_RUN_LENGTH].rstrip("-")
    return f"{short}-{digest}-{job}-{attempt}"
