"""What the recorder varies in a process: how folders are listed, how threads take turns, how long steps take."""

import json
import os
import subprocess
import sys

import pytest

from tests import ROOT

LISTS = """
import glob, json, os, pathlib, shutil, sys
folder = sys.argv[1]
with os.scandir(folder) as entries:
    scanned = [entry.name for entry in entries]
found = {"listdir": os.listdir(folder), "scandir": scanned, "walk": next(os.walk(folder))[2],
         "iterdir": [path.name for path in pathlib.Path(folder).iterdir()]}
shutil.rmtree(folder + "/gone")
print(json.dumps([found, sys.getswitchinterval()]))
"""


def listed(tmp_path, vary):
    (tmp_path / "gone" / "below").mkdir(parents=True)
    for name in "abcde":
        (tmp_path / name).touch()
    run = tmp_path.parent / "runs" / "1"
    run.mkdir(parents=True, exist_ok=True)
    environment = {"PYTHONPATH": str(ROOT / "harness" / "recorder" / "inject"), "HARNESS_RUN_DIR": str(run)}
    environment |= {"HARNESS_VARY": json.dumps(vary), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", LISTS, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_folders_are_listed_the_other_way_round_and_can_still_be_removed(tmp_path):
    one, interval = listed(tmp_path, {"pace": None, "reverses_listings": False})
    two, other = listed(tmp_path, {"pace": 7, "reverses_listings": True})
    assert two == {how: names[::-1] for how, names in one.items()}
    assert interval == pytest.approx(0.005) and other == pytest.approx(5e-5)
