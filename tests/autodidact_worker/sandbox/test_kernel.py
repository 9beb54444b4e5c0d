"""System calls that Python has no function for."""

import errno
import os
import subprocess
import sys

import pytest

from autodidact_worker.sandbox import kernel

DROPS = """
import os
from autodidact_worker.sandbox import kernel
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.drop_capabilities()
status = open("/proc/self/status").read()
print(*[line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "NoNewPrivs"))])
"""


def test_a_refused_call_is_an_error_with_its_number() -> None:
    """What the kernel refuses is an OSError as Python's own functions raise it."""
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)) as caught:
        kernel.prctl(-1)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        kernel.call(100_000)


def test_no_right_is_left() -> None:
    """Without capabilities and with no_new_privs a process of root is one of nobody's."""
    done = subprocess.run([sys.executable, "-c", DROPS], capture_output=True, text=True, check=True)
    permitted, effective, no_new_privs = done.stdout.split()
    assert int(permitted, 16) == int(effective, 16) == 0
    assert no_new_privs == "1"
