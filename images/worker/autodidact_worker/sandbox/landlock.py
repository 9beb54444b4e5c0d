"""Landlock: a process gives up access to files, TCP and signals, for itself and its children.

Each domain narrows the ones before it. Kernels know it in versions (ABI); what a kernel does not
know is masked out, and ``abi`` says what is left.
"""

import ctypes
import os
import stat
from collections.abc import Iterable

from .kernel import call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14
_READ = _READ_FILE | _READ_DIR
# Number of file rights, all of them from bit 0 on, that each ABI knows.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_EXECUTE = 1 << 0
_BIND_AND_CONNECT_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """Returns the kernel's version of Landlock, 1 or more.

    Raises:
        OSError: The kernel has none, it is switched off, or a seccomp profile hides it.
    """
    return call(_CREATE_RULESET, None, 0, _VERSION_FLAG)


def restrict(
    version: int,
    readable: Iterable[str],
    writable: Iterable[str],
    listable: Iterable[str] = (),
) -> None:
    """Leaves this thread and its children these files and directories; nothing can be executed.

    Args:
        version: From ``abi``.
        readable: Files and directories with all below, to read.
        writable: Directories, to read and to change in every way below.
        listable: Directories whose names, and those below, can be read, but no file.

    Raises:
        OSError: A path cannot be opened, or the kernel refuses.
    """
    all_files = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    rules = _Ruleset(
        all_files,
        _BIND_AND_CONNECT_TCP if version >= 4 else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call(_CREATE_RULESET, ctypes.byref(rules), size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ)
        for path in listable:
            _allow(ruleset, path, _READ_DIR)
        for path in writable:
            _allow(ruleset, path, all_files & ~_EXECUTE)
        call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        rule = _PathBeneath(rights, parent)
        call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)
