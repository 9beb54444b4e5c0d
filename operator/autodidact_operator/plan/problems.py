"""What can hinder a run: one row for each reason, with how the run is treated while it lasts.

A reason is what stands in the conditions of the run's status. Whoever meets a problem names its
reason and says in a sentence what is wrong; everything else is decided by the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

LOOK_AGAIN_S = 5.0
"""Seconds after which a hindered run is looked at again."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a run is treated while a problem lasts.

    Attributes:
        what: What is wrong.
        look_again_s: Seconds after which the run is looked at again; None: only when the run
            changes.
        deadline_counts: Whether the run fails when the problem lasts longer than
            ``spec.startDeadlineSeconds``.
        ends_jobs: Whether the run fails at once, and its Jobs are ended.
    """

    what: str
    look_again_s: float | None
    deadline_counts: bool
    ends_jobs: bool


def _passing(what: str) -> Row:
    """Returns the row of a problem that may pass: the run waits, but not for ever."""
    return Row(what=what, look_again_s=LOOK_AGAIN_S, deadline_counts=True, ends_jobs=False)


def _awaited(what: str) -> Row:
    """Returns the row of what another run is working on: the run waits as long as that takes."""
    return Row(what=what, look_again_s=LOOK_AGAIN_S, deadline_counts=False, ends_jobs=False)


def _for_good(what: str) -> Row:
    """Returns the row of a problem that only an edit can solve: the run fails."""
    return Row(what=what, look_again_s=None, deadline_counts=False, ends_jobs=True)


TABLE: Mapping[str, Row] = {
    # The run object.
    "InvalidSpec": _for_good("The spec breaks a rule that the API server did not check."),
    "LocationNotAllowed": _for_good("The spec names a location that the namespace may not read."),
    # The run that spec.from names.
    "OriginIsItself": _for_good("It is this run, or it waits for this run."),
    "OriginHasNoModel": _for_good("It ended without the model that is asked for."),
    "OriginNotFound": _passing("There is no such run."),
    "OriginNotReady": _awaited("It is at work and has not made the model yet."),
    # The ComputeProfiles that spec.compute names. Jobs at work no longer need them.
    "ComputeProfileNotFound": _passing("There is no such ComputeProfile."),
    "ComputeProfileInvalid": _passing("The ComputeProfile cannot be read."),
    # What the API server does not take.
    "CredentialsNotWritten": _passing("The Secret with a Job's store credentials is refused."),
    "JobNotCreated": _passing("A Job, its Service or its Secret is refused."),
    # The store or its STS; each error of the store has a row.
    "Store": _passing("The store failed in a way that has no error of its own."),
    "StoreUnavailable": _passing("It does not answer, or cannot serve now."),
    "StoreAccessDenied": _passing("It refuses the operator's credentials."),
    "StoreBucketMissing": _passing("The bucket or the directory does not exist."),
    "StoreNotFound": _passing("An object that should be there is not."),
    "StoreCorrupt": _passing("What is published is not what its manifest says."),
    "StoreTooLarge": _passing("A manifest is larger than manifests may be."),
    "StoreInvalidName": _passing("It does not accept the name of an object."),
    "StoreConfiguration": _passing("The store or the STS is not set up as it must be."),
}


class Problem(NamedTuple):
    """What hinders a run now.

    Attributes:
        reason: A reason of ``TABLE``.
        message: What is wrong and what to do about it, in a sentence.
    """

    reason: str
    message: str

    @property
    def row(self) -> Row:
        """How the run is treated."""
        return TABLE[self.reason]
