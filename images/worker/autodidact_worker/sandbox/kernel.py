"""System calls that Python has no function for."""

import ctypes
import os
import platform

MACHINE = platform.machine()

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39

_CAPABILITIES_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    """Makes a system call by its number.

    Args:
        number: As the architecture has it.
        arguments: Integers, bytes (as a pointer), None (a null pointer) or ctypes pointers.

    Returns:
        The call's result.

    Raises:
        OSError: The call failed.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *words))


def prctl(option: int, argument: object = 0, second: object = 0) -> int:
    """Asks the kernel to change how it treats this process.

    Raises:
        OSError: The call failed.
    """
    words = [
        ctypes.c_ulong(word) if isinstance(word, int) else word for word in (argument, second, 0, 0)
    ]
    return _checked(_libc.prctl(ctypes.c_int(option), *words))


def unshare(flags: int) -> None:
    """Moves this process into new namespaces.

    Raises:
        OSError: The call failed.
    """
    _checked(_libc.unshare(ctypes.c_int(flags)))


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mounts a file system, or changes a mount.

    Raises:
        OSError: The call failed.
    """
    texts = [text if text is None else os.fsencode(text) for text in (source, target, kind)]
    _checked(_libc.mount(*texts, ctypes.c_ulong(flags), options.encode()))


def unmount(target: str, flags: int) -> None:
    """Takes a mount away.

    Raises:
        OSError: The call failed.
    """
    _checked(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)))


def drop_capabilities() -> None:
    """Gives up all capabilities; a process of uid 0 has no more rights than any other then.

    Raises:
        OSError: The call failed.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
