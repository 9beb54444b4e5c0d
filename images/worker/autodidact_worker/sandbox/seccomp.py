"""Seccomp: a list of the system calls a process may still make; all others fail with EPERM.

The filter is classic BPF, assembled here by hand. Calls of another architecture (32-bit ones by
``int 0x80``) kill the process; x32 numbers have bit 30 set, match nothing, and fail.
"""

import ctypes
import errno
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .kernel import MACHINE, PR_SET_SECCOMP, prctl

_MODE_FILTER = 2
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
# Offsets into struct seccomp_data, and the opcodes used.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMNS = {"x86_64": 0, "aarch64": 1}

# Number on x86_64 and on aarch64, which has none of the older calls.
_PROGRAM: Mapping[str, tuple[int | None, int | None]] = {
    # The hot ones first: the kernel reads the list from the top.
    "read": (0, 63),
    "write": (1, 64),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # Files; which ones is Landlock's business. Nothing here changes a file that is not open.
    "close": (3, 57),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "stat": (4, None),
    "lstat": (6, None),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "ftruncate": (77, 46),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "umask": (95, 166),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "close_range": (436, 436),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    # Time, alarms and waiting: the wall clock is the runner's.
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    "pause": (34, None),
    "restart_syscall": (219, 128),
    # The process itself.
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getpgrp": (111, None),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "setrlimit": (160, 164),
    "sched_yield": (24, 124),
    "uname": (63, 160),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}

# What the runner needs on top, to fork programs, to lock them in, to kill and to clean up.
_RUNNER: Mapping[str, tuple[int | None, int | None]] = {
    "wait4": (61, 260),
    "kill": (62, 129),
    "setsid": (112, 157),
    "set_robust_list": (273, 99),
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """A condition on the low 32 bits of one argument; the calls checked take an int there.

    Attributes:
        call: Number on x86_64 and on aarch64.
        argument: 0 to 5.
        mask: Applied first.
        values: What the masked argument is compared with.
        allowed: Whether these values pass and all others fail, or the reverse.
    """

    call: tuple[int | None, int | None]
    argument: int
    mask: int = 0xFFFFFFFF
    values: tuple[int, ...]
    allowed: bool = True


# O_ACCMODE | O_TRUNC = O_TRUNC: truncates a file opened to read, unseen by Landlock before ABI 3.
_OPEN = (
    Check(call=(257, 56), argument=2, mask=0x203, values=(0x200,), allowed=False),
    Check(call=(2, None), argument=1, mask=0x203, values=(0x200,), allowed=False),
)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: not F_SETOWN, which sends signals,
# nor leases, locks and pipe sizes.
_FCNTL = Check(call=(72, 25), argument=1, values=(0, 1, 2, 3, 4, 1030))
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what Python asks of a file.
_IOCTL = Check(call=(16, 29), argument=1, values=(0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451))
_OWN_LIMITS = Check(call=(302, 261), argument=0, values=(0,))
_OWN_PROCESSORS = Check(call=(204, 123), argument=0, values=(0,))
_PROGRAM_CHECKS = (*_OPEN, _FCNTL, _IOCTL, _OWN_LIMITS, _OWN_PROCESSORS)
_RUNNER_CHECKS = (
    # fork(): SIGCHLD, CLONE_CHILD_SETTID and CLONE_CHILD_CLEARTID; no thread and no namespace.
    Check(call=(56, 220), argument=0, mask=0xFFFFFFFF & ~0x01200011, values=(0,)),
    # PR_SET_PDEATHSIG and PR_SET_SECCOMP.
    Check(call=(157, 167), argument=0, values=(1, PR_SET_SECCOMP)),
)


def program_filter() -> bytes:
    """Returns the filter of a program.

    Raises:
        OSError: There is no table for this architecture.
    """
    return _assemble(_PROGRAM.values(), _PROGRAM_CHECKS)


def runner_filter() -> bytes:
    """Returns the filter of the process that forks programs; theirs comes on top of it.

    Raises:
        OSError: There is no table for this architecture.
    """
    calls = (*_PROGRAM.values(), *_RUNNER.values())
    return _assemble(calls, (*_PROGRAM_CHECKS, *_RUNNER_CHECKS))


def install(code: bytes) -> None:
    """Puts a filter on this process for good. It must have no_new_privs.

    Raises:
        OSError: The kernel refuses.
    """
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, _MODE_FILTER, program)


def _assemble(calls: Iterable[tuple[int | None, int | None]], checks: Iterable[Check]) -> bytes:
    if MACHINE not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {MACHINE}")
    column = _COLUMNS[MACHINE]
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_IF_EQUAL, _ARCHITECTURES[MACHINE], 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
    ]
    for numbers in calls:
        if (number := numbers[column]) is not None:
            code += [_step(_JUMP_IF_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    for check in checks:
        if (number := check.call[column]) is not None:
            body = _decide(check)
            code += [_step(_JUMP_IF_EQUAL, number, 0, len(body)), *body]
    return b"".join([*code, _step(_RETURN, _ERRNO | errno.EPERM)])


def _decide(check: Check) -> list[bytes]:
    """Returns the steps that end in the verdict on a call with this number."""
    refuse = _ERRNO | errno.EPERM
    match, other = (_ALLOW, refuse) if check.allowed else (refuse, _ALLOW)
    steps = [_step(_LOAD, _ARGUMENTS + 8 * check.argument), _step(_AND, check.mask)]
    for value in check.values:
        steps += [_step(_JUMP_IF_EQUAL, value, 0, 1), _step(_RETURN, match)]
    return [*steps, _step(_RETURN, other)]


def _step(opcode: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", opcode, if_true, if_false, operand)
