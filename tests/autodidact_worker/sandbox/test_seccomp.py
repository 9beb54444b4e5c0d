"""The filters, run here as the kernel runs them."""

import errno
import struct

import pytest

from autodidact_worker.sandbox import seccomp
from autodidact_worker.sandbox.kernel import MACHINE

KILL, ALLOW, REFUSE = 0x80000000, 0x7FFF0000, 0x00050000 | errno.EPERM
NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[MACHINE]
COLUMN = {"x86_64": 0, "aarch64": 1}[MACHINE]


def verdict(code: bytes, number: int, *arguments: int, architecture: int = NATIVE) -> int:
    """Interprets classic BPF on one system call."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *words)
    place = accumulator = 0
    while True:
        opcode, if_true, if_false, operand = struct.unpack_from("=HBBI", code, place * 8)
        place += 1
        if opcode == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif opcode == 0x54:
            accumulator &= operand
        elif opcode == 0x15:
            place += if_true if accumulator == operand else if_false
        else:
            assert opcode == 0x06
            return operand


@pytest.fixture
def program() -> bytes:
    """The filter of a program."""
    return seccomp.program_filter()


def number(name: str, x86_64: int | None, aarch64: int | None) -> int:
    """Returns a call's number here."""
    found = (x86_64, aarch64)[COLUMN]
    if found is None:
        pytest.skip(f"{MACHINE} has no {name}")
    return found


def test_only_the_list_passes(program: bytes) -> None:
    """Of all numbers exactly those of the list pass, whatever the arguments are not."""
    listed = {numbers[COLUMN] for numbers in seccomp._PROGRAM.values()} - {None}
    checked = {check.call[COLUMN] for check in seccomp._PROGRAM_CHECKS} - {None}
    passing = {n for n in range(2048) if verdict(program, n) == ALLOW}
    assert listed <= passing <= listed | checked


def test_other_architectures_die(program: bytes) -> None:
    """A call of the 32-bit kind kills, whatever its number."""
    for architecture in (0x40000003, 0x40000028, 0):
        assert verdict(program, 0, architecture=architecture) == KILL


def test_x32_numbers_are_refused(program: bytes) -> None:
    """A number with the bit of x32 matches nothing."""
    assert {verdict(program, n | 0x40000000) for n in range(1024)} == {REFUSE}


@pytest.mark.parametrize(
    ("name", "numbers", "arguments", "allowed"),
    [
        ("openat to read", (257, 56), (0, 0, 0), True),
        ("openat to write, truncating", (257, 56), (0, 0, 0o1001), True),
        ("openat to read, truncating", (257, 56), (0, 0, 0o1000), False),
        ("open to read, truncating", (2, None), (0, 0o1000), False),
        ("fcntl F_GETFL", (72, 25), (3, 3), True),
        ("fcntl F_SETOWN", (72, 25), (3, 8), False),
        ("fcntl F_SETLEASE", (72, 25), (3, 1024), False),
        ("ioctl TCGETS", (16, 29), (1, 0x5401), True),
        ("ioctl TIOCSTI", (16, 29), (1, 0x5412), False),
        ("ioctl TIOCSTI with high bits", (16, 29), (1, 0x100005412), False),
        ("prlimit64 of itself", (302, 261), (0,), True),
        ("prlimit64 of another", (302, 261), (1,), False),
        ("clone", (56, 220), (0x01200011,), False),
    ],
)
def test_arguments(
    program: bytes, name: str, numbers: tuple[int, int], arguments: tuple[int, ...], allowed: bool
) -> None:
    """Calls that are half dangerous pass with harmless arguments only."""
    found = verdict(program, number(name, *numbers), *arguments)
    assert found == (ALLOW if allowed else REFUSE)


@pytest.mark.parametrize(
    ("name", "numbers", "arguments", "allowed"),
    [
        ("fork", (56, 220), (0x01200011,), True),
        ("a thread", (56, 220), (0x00010F00,), False),
        ("fork into a namespace", (56, 220), (0x11200011,), False),
        ("prctl PR_SET_SECCOMP", (157, 167), (22,), True),
        ("prctl PR_SET_DUMPABLE", (157, 167), (4,), False),
        ("socket", (41, 198), (1,), False),
        ("execve", (59, 221), (0,), False),
        ("ptrace", (101, 117), (0,), False),
    ],
)
def test_the_runner(
    name: str, numbers: tuple[int, int], arguments: tuple[int, ...], allowed: bool
) -> None:
    """The runner may fork and lock its children in, and neither talk nor execute."""
    found = verdict(seccomp.runner_filter(), number(name, *numbers), *arguments)
    assert found == (ALLOW if allowed else REFUSE)


def test_an_unknown_architecture_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the numbers are not known, there is an error rather than a guess."""
    monkeypatch.setattr(seccomp, "MACHINE", "riscv64")
    with pytest.raises(OSError, match="no table of system calls for riscv64"):
        seccomp.program_filter()
