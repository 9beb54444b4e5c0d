"""Names of Jobs. They are known before the Jobs exist, so that a status can name a Job at once."""

import hashlib

from autodidact_contract.task import RunRef

_RUN_LENGTH = 22
"""Characters of a run's name that are kept, so that a Job's name has at most 63."""


def job_name(ref: RunRef, job: str, attempt: int) -> str:
    """Returns a Job's name: the same for the same run, job and attempt, at most 63 characters.

    The Job's Service has the same name, and names of Services begin with a letter. The name of a
    run need not.
    """
    digest = hashlib.sha256(f"{ref.uid}/{job}".encode()).hexdigest()[:6]
    short = ref.name if ref.name[0].isalpha() else f"run-{ref.name}"
    short = short.replace(".", "-")[:_RUN_LENGTH].rstrip("-")
    return f"{short}-{digest}-{job}-{attempt}"
