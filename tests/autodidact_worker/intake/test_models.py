import logging
import shutil
from pathlib import Path

import pytest

from autodidact_worker.runtime.errors import UserError
from support.imports import BringIn


def test_a_model_is_copied_without_what_it_does_not_need(
    bring_in: BringIn, llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pickled weights beside safetensors, code and texts stay behind and are named in the log."""
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    (folder / "README.md").write_text("# A model")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with caplog.at_level(logging.INFO):
        out, output = bring_in(folder, "model")
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in llama.iterdir()} | {"chat_template.jinja"}
    assert output.counts["ignored"] == 2
    assert "README.md, pytorch_model.bin" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.json", '{"auto_map": {"AutoModel": "evil.Model"}}', "UnsafeModel"),
        ("model.safetensors", "junk", "InvalidModel"),
    ],
)
def test_poisoned_models_are_not_imported(
    bring_in: BringIn, llama: Path, tmp_path: Path, name: str, text: str, reason: str
) -> None:
    """What safety refuses fails the stage for good."""
    shutil.copytree(llama, tmp_path / "model")
    (tmp_path / "model" / name).write_text(text)
    with pytest.raises(UserError) as caught:
        bring_in(tmp_path / "model", "model")
    assert caught.value.reason == reason
