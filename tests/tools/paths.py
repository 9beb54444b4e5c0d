"""Where things are in a checkout."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
"""What programs of ``tools`` and ``support`` need as their PYTHONPATH."""

ROOT = TESTS.parent
"""The checkout."""

CHART = ROOT / "charts" / "autodidact-operator"
EXAMPLES = ROOT / "crds" / "examples"

AUTODIDACT = Path(sys.executable).with_name("autodidact")
"""The command line, as it is installed beside this Python."""
