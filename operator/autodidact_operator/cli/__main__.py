"""``python -m autodidact_operator.cli``: the same as ``autodidact``."""

from autodidact_operator.cli import main

main()
