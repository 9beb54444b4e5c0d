"""A program that tries what each layer of the sandbox must refuse; it is run like any other."""

from collections.abc import Collection

_SOURCE = """
import os, resource, socket

OUTSIDE, LAYERS = {outside!r}, {layers!r}
FAMILIES = socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK

def fork():
    if os.fork() == 0:
        os._exit(0)

def unlimited():
    names = "AS", "CPU", "FSIZE", "NOFILE", "CORE", "STACK"
    limits = [resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names]
    if all(hard != resource.RLIM_INFINITY for soft, hard in limits):
        raise OSError

def same(mine, outside):
    if mine != outside:
        raise OSError

FORBIDDEN = {{
    "files": [
        lambda: open(OUTSIDE).close(),
        lambda: open(OUTSIDE, "a").close(),
        lambda: open(OUTSIDE + ".new", "x").close(),
        lambda: open("/proc/1/environ").close(),
        lambda: open("/proc/self/environ").close(),
        lambda: os.mkdir("../beside"),
    ],
    "landlock": [lambda: os.listdir("/")],
    "seccomp": [
        *(lambda family=family: socket.socket(family, socket.SOCK_DGRAM) for family in FAMILIES),
        fork,
        lambda: os.execv("/bin/true", ["true"]),
        lambda: os.kill(os.getppid(), 0),
        lambda: os.chmod(".", 0o755),
    ],
    "rlimits": [unlimited, lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1))],
    "namespaces": [
        lambda: os.stat(OUTSIDE),
        lambda: same(os.uname().nodename, {host!r}),
        lambda: same(os.getppid() == 1, False),
    ],
}}

def allowed(attempt):
    try:
        attempt()
    except (OSError, ValueError):
        return False
    return True

def solution():
    open("inside", "w").close()
    os.unlink("inside")
    failed = [name for name in LAYERS if any(map(allowed, FORBIDDEN[name]))]
    return "failed: " + " ".join(failed)
"""
_TRIED = frozenset({"landlock", "seccomp", "rlimits", "namespaces"})
PASSED = "failed: "


def source(outside: str, host: str, in_force: Collection[str]) -> str:
    """Returns the program. It answers ``PASSED`` and the layers that do not do what they should.

    The layer ``files`` means: no file of the worker's can be reached.

    Args:
        outside: A file that this process can read and write and programs must not.
        host: This machine's name.
        in_force: Layers to try.
    """
    names = {name.split("-")[0] for name in in_force} & _TRIED
    return _SOURCE.format(outside=outside, host=host, layers=["files", *sorted(names)])
