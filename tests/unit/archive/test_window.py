"""Reading an archive that somebody writes to meanwhile ends in words, not by a signal."""

import subprocess
import sys

import pytest

from tests import ROOT

ARCHIVE = """
import os, sys
from pathlib import Path
from harness.archive.window import open_window

view = open_window(Path(sys.argv[1])).contents(0, 8 << 20)
os.truncate(sys.argv[1], 100)
print(len(bytes(view)))
"""
FOLDER = """
import os, sys
from pathlib import Path
from harness.verify.material import open_material

path = Path(sys.argv[1])
path.with_name("certificate.json").write_bytes(b"{}")
with open_material(path.parent, print) as material:
    data = material.files.read(path.name, max_bytes=8 << 20)
    os.truncate(path, 100)
    print(len(bytes(data)))
"""


@pytest.mark.parametrize("script", [ARCHIVE, FOLDER], ids=["archive", "folder"])
def test_a_mapped_file_that_becomes_shorter_is_an_error_in_words(tmp_path, script):
    (tmp_path / "large").write_bytes(b"x" * (8 << 20))
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "large")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert (result.returncode, result.stdout) == (6, "")
    assert result.stderr.startswith("error: a file became shorter") and "remedy: " in result.stderr
