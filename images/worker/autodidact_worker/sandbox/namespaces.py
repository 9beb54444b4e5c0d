"""Namespaces: a file system, a network and process numbers in which nothing else exists.

Many machines refuse them, pods under the RuntimeDefault profile above all.
"""

import ctypes
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from .kernel import MACHINE, PR_SET_PDEATHSIG, call, mount, prctl, unmount, unshare

HOST_NAME = "sandbox"
WRITABLE = "/tmp/program"  # noqa: S108 - of the new file system, where nobody else is
_NEW = 0x10000000 | 0x00020000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x20000000 | 0x02000000
"""CLONE_NEWUSER, NEWNS, NEWNET, NEWIPC, NEWUTS, NEWPID, NEWCGROUP."""
_NOSUID_NODEV, _BIND, _RECURSIVE, _PRIVATE = 0x6, 0x1000, 0x4000, 0x40000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_RDONLY_NOSUID_NODEV = 0x1 | 0x2 | 0x4
_DETACH = 2
_ENTERED = "entered"


def enter(readable: Sequence[str], root: Path, size_bytes: int, files: int) -> None:
    """Moves this process into new namespaces of every kind.

    The process that returns is a child, the first of its process namespace; when it ends, so does
    everything in it. The caller's process waits for it and never returns. The file system holds
    what is readable, read-only, and ``WRITABLE``, which is empty and in memory.

    Args:
        readable: Absolute paths of files and directories.
        root: An empty directory.
        size_bytes: What ``WRITABLE`` can hold.
        files: How many files and directories it can hold.

    Raises:
        OSError: The machine does not allow it. The process is then of no further use.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(_NEW)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    if interfaces := {name for _, name in socket.if_nameindex()} - {"lo"}:
        raise OSError(f"the network namespace has {', '.join(sorted(interfaces))}")
    socket.sethostname(HOST_NAME)
    _file_system(readable, root, f"size={size_bytes},nr_inodes={files}")
    _become_first_process()


def refusal(readable: Sequence[str], root: Path) -> str:
    """Returns why this machine does not allow ``enter``, or nothing; tried in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as answer:
            reason = answer.read()
        os.waitpid(child, 0)
        return "" if reason == _ENTERED else reason or "the trial ended without a word"
    try:
        enter(readable, root, 1 << 20, 64)
        reason = _ENTERED
    except OSError as error:
        reason = str(error)
    os.write(writer, reason.encode())
    os._exit(0)


def _file_system(readable: Sequence[str], root: Path, limits: str) -> None:
    mount(None, "/", None, _RECURSIVE | _PRIVATE)
    mount("tmpfs", str(root), "tmpfs", _NOSUID_NODEV, "mode=0755")
    for source in readable:
        target = root / source.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mount(source, str(target), None, _BIND | _RECURSIVE)
    temporary = root / WRITABLE.lstrip("/")
    temporary.mkdir(parents=True)
    _make_read_only(root)
    mount("tmpfs", str(temporary), "tmpfs", _NOSUID_NODEV, f"mode=0700,{limits}")
    os.chdir(root)
    # Both on the same place: the old root lies on top of the new one until it is detached.
    call(_PIVOT_ROOT[MACHINE], b".", b".")
    unmount(".", _DETACH)
    os.chdir(WRITABLE)


def _make_read_only(root: Path) -> None:
    attributes = (ctypes.c_uint64 * 4)(_RDONLY_NOSUID_NODEV)
    path = os.fsencode(root)
    call(_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, ctypes.byref(attributes), 32)


def _become_first_process() -> None:
    """Goes on in a child, which a process namespace needs to begin with."""
    if os.fork():
        wait()
        os._exit(0)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait() -> None:
    """Waits for the one child of this process, with no file open."""
    # Copies of the pipes would hide from the worker that the child is gone.
    os.closerange(0, 64)
    os.wait()
