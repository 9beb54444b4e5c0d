"""The errors of the operator.

OperatorError
|-- TransientError              trying again helps
|   |-- ApiUnavailableError     the API server does not answer, or with 5xx
|   |-- ThrottledError          429; says how long to wait
|   `-- ConflictError           the object changed, or is not the one we meant
|       `-- AlreadyExistsError  a create met an object of the same name
`-- PermanentError              somebody must act first
    |-- ConfigError             a setting is missing or wrong
    |-- NotFoundError           the object is gone
    |-- ForbiddenError          the operator's role lacks a verb
    |-- InvalidObjectError      the API server refuses what we sent
    `-- LeaseLostError          another replica leads; this process must end
"""


class OperatorError(Exception):
    """The root of all errors that the operator raises itself."""


class TransientError(OperatorError):
    """Trying again helps."""


class PermanentError(OperatorError):
    """Trying again does not help before somebody acts."""


class ApiUnavailableError(TransientError):
    """The API server does not answer, or answers with an error of its own."""


class ThrottledError(TransientError):
    """The API server asks for patience.

    Attributes:
        retry_after: Seconds it asked for.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConflictError(TransientError):
    """The object is not in the state that the write took for granted."""


class AlreadyExistsError(ConflictError):
    """There is an object of this name already."""


class ConfigError(PermanentError):
    """A setting is missing or wrong; the message names it."""


class NotFoundError(PermanentError):
    """There is no such object."""


class ForbiddenError(PermanentError):
    """The operator may not do this.

    Attributes:
        verb: The verb its role lacks.
        resource: The resource the verb is for, as `plural.group`.
    """

    def __init__(self, message: str, verb: str, resource: str) -> None:
        super().__init__(message)
        self.verb = verb
        self.resource = resource


class InvalidObjectError(PermanentError):
    """The API server refuses the object as malformed."""


class LeaseLostError(PermanentError):
    """The lease could not be renewed in time; another replica may lead by now."""
