"""The errors by which a stage gives up. After any other error another attempt is worth trying."""


class StageError(Exception):
    """The stage cannot go on.

    Attributes:
        code: What the operator does about it, see ``autodidact_contract.task.Failure``.
        reason: CamelCase, becomes a condition's reason.
    """

    code = "retry"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UserError(StageError):
    """Only the user can help: the same inputs would fail again. Never retried.

    The message names the object, the value and the remedy.
    """

    code = "user"


class StoppedError(StageError):
    """The process was asked to stop and left nothing half done."""

    code = "stopped"

    def __init__(self, message: str = "stopped by SIGTERM; unpublished work is repeated") -> None:
        super().__init__("Stopped", message)
