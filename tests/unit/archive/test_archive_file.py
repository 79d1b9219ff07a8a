"""Reading an archive or a folder that somebody writes to meanwhile is an error in words."""

import os

import pytest

from harness.archive.archive_file import open_file
from harness.errors import EvidenceError, HostError
from harness.system.safe_read import safe_read

SIZE = 8 << 20


@pytest.mark.parametrize(
    ("opened", "error"),
    [
        (open_file, HostError),
        (lambda path: safe_read(path.parent, path.name, max_bytes=SIZE), EvidenceError),
    ],
    ids=["archive", "folder"],
)
def test_a_file_that_becomes_shorter_is_an_error_in_words(tmp_path, opened, error):
    path = tmp_path / "large"
    path.write_bytes(b"x" * SIZE)
    data = opened(path)
    assert data[:3] == b"xxx" and len(data) == SIZE
    os.truncate(path, 100)
    with pytest.raises(error, match="became shorter") as raised:
        bytes(data)
    assert raised.value.remedy
