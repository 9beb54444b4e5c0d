"""The stage import on sources of a test."""

from collections.abc import Callable
from pathlib import Path

from autodidact_worker.runtime.frame import Output

BringIn = Callable[..., tuple[Path, Output]]


INSTRUCTION = {"prompt": "Say hi.", "response": "Hi."}
