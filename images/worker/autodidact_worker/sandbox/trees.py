"""Measures and removes directories that a hostile program may have filled.

Names, depth, modes and links in them are the program's choice; nothing here follows a link.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def exceeds(path: Path, size_bytes: int, files: int) -> bool:
    """Returns whether a tree that may be changing holds more than that, or hides what it holds."""
    pending = [str(path)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    files -= 1
                    size_bytes -= _size(entry)
                    if files < 0 or size_bytes < 0:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError:  # No permission, or a path too long to open.
            return True
    return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def remove(path: Path) -> None:
    """Removes a directory with all that is in it.

    Raises:
        OSError: Something cannot be removed.
    """
    clear(path)
    path.rmdir()


def clear(path: Path) -> None:
    """Removes all that is in a directory. Nobody else may be changing it.

    Works from directory to directory with one of them open, so that neither the depth of the tree
    nor the length of its paths has a limit.

    Raises:
        OSError: Something cannot be removed.
    """
    here = os.open(path, _DIRECTORY)
    names: list[str] = []
    try:
        full = [_full_directories(here)]
        while full:
            name = next(full[-1], None)
            if name is not None:
                os.chmod(name, 0o700, dir_fd=here)
                there = os.open(name, _DIRECTORY, dir_fd=here)
                names.append(name)
                full.append(_full_directories(there))
            else:
                full.pop()
                if not full:
                    return
                there = os.open("..", _DIRECTORY, dir_fd=here)
                os.rmdir(names.pop(), dir_fd=there)
            os.close(here)
            here = there
    finally:
        os.close(here)


def _full_directories(directory: int) -> Iterator[str]:
    """Removes the files and the empty directories of a directory and returns the names left."""
    left = []
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=directory)
        else:
            try:
                os.rmdir(entry.name, dir_fd=directory)
            except OSError:
                left.append(entry.name)
    return iter(left)
