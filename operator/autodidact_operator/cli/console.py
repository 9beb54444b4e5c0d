"""How the commands talk to the terminal, and the exit codes they end with."""

import sys
from typing import NoReturn

from rich.console import Console

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

console = Console(stderr=False, highlight=False)


def fail(message: str, code: int) -> NoReturn:
    """Prints what is wrong on standard error and ends the process with the code."""
    errors = Console(stderr=True, highlight=False)
    errors.print(f"Error: {message}", style="red", markup=False, soft_wrap=True)
    sys.exit(code)
