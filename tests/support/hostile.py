"""Hostile programs, and a scene in which each of them would leave a trace if it got anywhere.

``python -m support.hostile FOLDER all|quick [LAYER ...]`` plays a worker: it plants secrets,
listens, runs the corpus without those layers and prints what it saw as JSON. ``quick`` leaves out
what is there to run into the limits of time and memory. The corpus is in ``corpus/``:
sections ``### name: statuses`` after a beginning that belongs to all of a file. A program that gets
what it wants answers ESCAPED.

The day the sandbox has a hole, these programs run on somebody's machine. So none may do harm to what
is not the scene's: they ask for what is forbidden in a way that has no effect where it is granted
(signal 0 to everybody, mounts of nothing), and hurt only files and processes planted here.
"""

import json
import os
import platform
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from autodidact_worker.runtime import frame
from autodidact_worker.sandbox.pool import Limits, Sandbox
from tools.paths import TESTS

CORPUS = TESTS / "data" / "hostile"
HONEST = "def solution():\n    return 6 * 7\n"
SECRET_NAME = "AUTODIDACT_PLANTED_SECRET"  # noqa: S105 - not the secret
LIMITS = Limits(seconds=2.0)
RUNNERS = 4
"""More than processors: most of the time goes into waiting for programs that do not end."""
_PLACES = ("/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/root")  # noqa: S108 - watched, not used
_HEADER = re.compile(r"^### (?P<name>[^:\n]+)(?:: (?P<statuses>[a-z -]+))?\n", re.MULTILINE)
_CALL = """
import ctypes
def solution():
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall({number}, 0, 0, 0, 0, 0, 0)
    if result == -1 and ctypes.get_errno() == 1:
        raise PermissionError
    return f"ESCAPED {{result}} {{ctypes.get_errno()}}"
"""


@dataclass(frozen=True)
class Program:
    """A hostile program and how it may end."""

    name: str
    source: str
    statuses: tuple[str, ...]


def corpus() -> list[Program]:
    """Returns all programs, with placeholders such as ``@TOKEN@`` still in them."""
    texts = {path.stem: path.read_text() for path in sorted(CORPUS.glob("*.txt"))}
    calls = texts.pop("calls").splitlines()[1:]
    written = [program for stem, text in texts.items() for program in _sections(stem, text)]
    return [*written, *_calls(calls), *_built()]


def _sections(stem: str, text: str) -> Iterator[Program]:
    headers = list(_HEADER.finditer(text))
    prelude = text[: headers[0].start()]
    ends = [header.start() for header in headers[1:]] + [len(text)]
    for header, end in zip(headers, ends, strict=True):
        statuses = tuple((header["statuses"] or "raised").split())
        yield Program(f"{stem}: {header['name']}", prelude + text[header.end() : end], statuses)


def _calls(lines: list[str]) -> Iterator[Program]:
    column = {"x86_64": 1, "aarch64": 2}[platform.machine()]
    for line in lines:
        fields = line.split()
        if (number := fields[column]) != "-":
            yield Program(f"call: {fields[0]}", _CALL.format(number=number), ("raised",))


def _built() -> Iterator[Program]:
    """Yields programs too large to write down."""
    yield Program("built: far too much text", "#" * (1 << 26), ("raised",))
    yield Program("built: wide text", HONEST + "#" + "\U0001f600" * 16000, ("raised",))
    yield Program("built: deep nesting", "(" * 15000 + ")" * 15000, ("raised", "memory"))
    levels = "".join(" " * n + "if 1:\n" for n in range(200))
    yield Program("built: deep blocks", levels, ("raised", "memory"))
    yield Program("built: empty", "", ("no-solution",))
    yield Program("built: only null bytes", "\0" * 1000, ("raised",))


# The scene.


@contextmanager
def scene(folder: Path) -> Iterator[dict[str, Any]]:
    """Plants what programs look for, and yields what fills their placeholders."""
    scratch = folder / "scratch"
    secret = secrets.token_hex(16)
    mark = f"autodidact-escape-{secrets.token_hex(4)}"
    token = scratch / "var/run/secrets/kubernetes.io/serviceaccount/token"
    token.parent.mkdir(parents=True)
    token.write_text(f"token {secret}\n")
    gold, victim = scratch / "gold.jsonl", scratch / "victim"
    gold.write_text(json.dumps({"id": "1", "answer": secret}))
    victim.write_text("unchanged")
    victim.chmod(0o666)
    os.environ[SECRET_NAME] = secret
    with ExitStack() as stack:
        listeners = {name: stack.enter_context(end) for name, end in _listeners(folder)}
        sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(1000)"]
        sentinel = stack.enter_context(subprocess.Popen(sleeper))
        stack.callback(sentinel.kill)
        yield {
            "GOLD": gold,
            "TOKEN": token,
            "VICTIM": victim,
            "SCRATCH": scratch,
            "MARK": mark,
            "MARKER": scratch / mark,
            "SECRET_NAME": SECRET_NAME,
            "TCP": listeners["tcp"].getsockname()[1],
            "UDP": listeners["udp"].getsockname()[1],
            "UNIX": listeners["unix"].getsockname(),
            "ABSTRACT": mark,
            "SENTINEL": sentinel.pid,
            "WORKER_PID": os.getpid(),
            "WORKER": frame.__file__,
            "NUL": "\0",
            "SURROGATE": "\ud800",
            "secret": secret,
            "listeners": listeners,
            "sentinel": sentinel,
        }


def _listeners(folder: Path) -> Iterator[tuple[str, socket.socket]]:
    for name, family, kind, address in (
        ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        ("unix", socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
    ):
        end = socket.socket(family, kind)
        end.bind(address)
        if kind == socket.SOCK_STREAM:
            end.listen()
        end.setblocking(False)
        yield name, end


def fill(source: str, values: Mapping[str, Any]) -> str:
    """Returns a program with its placeholders filled."""
    return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), source)


def heard(listeners: Mapping[str, socket.socket]) -> list[str]:
    """Returns the listeners that somebody spoke to."""
    heard = []
    for name, end in listeners.items():
        try:
            end.recv(1) if name == "udp" else end.accept()
        except BlockingIOError:
            continue
        heard.append(name)
    return heard


def state(scratch: Path) -> dict[str, Any]:
    """Returns names, contents and attributes of all that was planted."""
    return {
        str(path): (path.read_text() if path.is_file() else "", *_attributes(path))
        for path in sorted(scratch.rglob("*"))
    }


def _attributes(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    return found.st_mode, found.st_uid, found.st_nlink, found.st_size, found.st_mtime_ns


def marked(mark: str, folder: Path) -> list[str]:
    """Returns files of that name at the places where programs try to make some."""
    library = Path(os.__file__).parent
    places = [Path.cwd(), Path.home(), library, *map(Path, _PLACES)]
    found = list(folder.rglob(f"*{mark}*"))
    for place in places:
        if os.access(place, os.R_OK):
            found += [path for path in place.iterdir() if mark in path.name]
    return [str(path) for path in found]


def chosen(part: str) -> list[Program]:
    """Returns all programs, or those that end quickly."""
    slow = {"timeout", "memory"} if part == "quick" else set()
    return [program for program in corpus() if not slow.intersection(program.statuses)]


def attack(folder: Path, part: str, without: list[str]) -> dict[str, Any]:
    """Runs every program, an honest one after each, and returns what there was to see."""
    temporary = folder / "temporary"
    temporary.mkdir()
    with scene(folder) as values:
        programs = [
            Program(program.name, fill(program.source, values), program.statuses)
            for program in chosen(part)
        ]
        before = state(values["SCRATCH"])
        processes = {child.pid for child in psutil.Process().children(recursive=True)}
        begin = time.monotonic()
        with Sandbox(LIMITS, RUNNERS, False, without=without, folder=temporary) as sandbox:
            layers = asdict(sandbox.layers)
            queue = [text for program in programs for text in (program.source, HONEST)]
            results = sandbox.run(queue)
        children = {child.pid for child in psutil.Process().children(recursive=True)}
        return {
            "uid": os.getuid(),
            "layers": layers,
            "seconds": time.monotonic() - begin,
            "programs": [
                {"name": program.name, "statuses": program.statuses, **asdict(result)}
                for program, result in zip(programs, results[::2], strict=True)
            ],
            "secret": values["secret"],
            "honest": [asdict(result) for result in results[1::2]],
            "heard": heard(values["listeners"]),
            "sentinel": values["sentinel"].poll(),
            "changed": [] if state(values["SCRATCH"]) == before else ["scratch"],
            "marked": marked(values["MARK"], folder),
            "left": [path.name for path in temporary.iterdir()],
            "processes": sorted(children ^ processes),
        }


if __name__ == "__main__":
    print(json.dumps(attack(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])))
