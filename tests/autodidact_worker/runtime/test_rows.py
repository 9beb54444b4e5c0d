from pathlib import Path

import pytest

from autodidact_contract.records import Instruction
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("keep_signals_and_modules")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prompt": "a", "response": "b"}\n{"prompt"\n', r"rows.jsonl line 2: .*JSON"),
        (b'{"prompt": "a"}\n', "rows.jsonl line 1: response: Field required"),
        (b'\n{"prompt": "a", "response": "", "x": 1}\n', "rows.jsonl line 2: response: "),
        (b"", "rows.jsonl has no rows"),
        (b"\xff\n", "rows.jsonl line 1: "),
        (None, "rows.jsonl is missing"),
    ],
)
def test_bad_rows_name_file_and_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    """Whoever wrote the data can find the place."""
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        rows.read(path, Instruction)


def test_text_survives_rows_unchanged(tmp_path: Path) -> None:
    """Line separators, surrogate pairs, white space and braces come back as they were."""
    text = " a\u2028b\u0085c\r\n\t{x} \U0001f600 \\u0041 "
    rows.write(tmp_path / "f", [Instruction(prompt=text, response=text)])
    assert rows.read(tmp_path / "f", Instruction)[0].prompt == text


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    """Parts are numbered from zero without gaps."""
    (tmp_path / "x-00001.jsonl").touch()
    with pytest.raises(UserError, match=r"x-00000\.jsonl"):
        rows.parts(tmp_path, "x")
