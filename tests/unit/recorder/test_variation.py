"""What the recorder varies in a process: how folders are listed, how threads take turns and are late."""

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


QUEUES = """
import json, queue, threading, time
out, slept = queue.Queue(), []
time.sleep = slept.append
def puts():
    for number in range(3):
        out.put(number)
puts()
in_training = list(slept)
thread = threading.Thread(target=puts)
thread.start()
thread.join()
print(json.dumps([in_training, slept, [out.get() for _ in range(6)]]))
"""


def told(tmp_path, script, vary):
    """What a script prints in a process that the recorder is in."""
    run = tmp_path.parent / "runs" / "1"
    run.mkdir(parents=True, exist_ok=True)
    environment = {"PYTHONPATH": str(ROOT / "harness" / "recorder" / "inject"), "HARNESS_RUN_DIR": str(run)}
    environment |= {"HARNESS_VARY": json.dumps(vary), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def listed(tmp_path, vary):
    (tmp_path / "gone" / "below").mkdir(parents=True)
    for name in "abcde":
        (tmp_path / name).touch()
    return told(tmp_path, LISTS, vary)


def test_folders_are_listed_the_other_way_round_and_can_still_be_removed(tmp_path):
    one, interval = listed(tmp_path, {"pace": None, "reverses_listings": False})
    two, other = listed(tmp_path, {"pace": 7, "reverses_listings": True})
    assert two == {how: names[::-1] for how, names in one.items()}
    assert interval == pytest.approx(0.005) and other == pytest.approx(5e-5)


def test_a_thread_that_fills_a_queue_is_late_and_the_training_itself_is_not(tmp_path):
    in_training, late, numbers = told(tmp_path, QUEUES, {"pace": 7})
    assert (in_training, late[:1], numbers) == ([], [0.3], [0, 1, 2, 0, 1, 2])
    assert told(tmp_path, QUEUES, {"pace": None})[1] == []
