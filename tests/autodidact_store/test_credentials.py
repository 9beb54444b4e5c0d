from pathlib import Path

import pytest

from autodidact_store import (
    ConfigurationError,
    open_store,
)
from support.stores import SERVER


def test_empty_credential_file_is_refused(tmp_path: Path) -> None:
    """A Secret with an empty key is named before anything is sent."""
    (tmp_path / "accessKey").write_text("\n")
    (tmp_path / "secretKey").write_text("b")
    with pytest.raises(ConfigurationError, match="accessKey is empty"):
        open_store("s3://bucket", SERVER | {"AUTODIDACT_STORE_CREDENTIALS": str(tmp_path)})
