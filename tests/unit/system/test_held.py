"""What a process holds is told from what a killed one left."""

import os
import subprocess
import sys

from harness.system import held as module
from harness.system.held import LOCK, held, is_free, is_held, left_folders, temporary_folder
from tests import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from harness.system.held import temporary_folder
with temporary_folder("x-", Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_folder_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    killed, living = (process.stdout.readline().strip() for process in processes)
    processes[0].kill()
    processes[0].wait()
    assert [str(path) for path in left_folders(tmp_path, "x-")] == [killed]
    with temporary_folder("x-", tmp_path):
        assert not os.path.exists(killed) and os.path.exists(living)
    processes[1].kill()
    for process in processes:
        process.communicate()


def test_what_is_being_made_and_what_is_somebody_elses_stays(tmp_path):
    (tmp_path / "x-new").mkdir()
    (tmp_path / "x-old").mkdir()
    os.utime(tmp_path / "x-old", (0, 0))
    (tmp_path / "x-link").symlink_to("x-old")
    assert left_folders(tmp_path) == [tmp_path / "x-old"]
    assert left_folders(tmp_path, "x-") == [], "a folder of somebody else's may have that name"


def test_a_folder_that_is_being_made_never_looks_like_one_that_was_left(tmp_path, monkeypatch):
    honest, looked = module.lock, []

    def look_first(stream, kind, **how):
        if kind == "alone":
            looked.append(left_folders(tmp_path, "x-"))
        honest(stream, kind, **how)

    monkeypatch.setattr(module, "lock", look_first)
    with temporary_folder("x-", tmp_path):
        assert looked == [[]]


def test_a_lock_file_goes_with_its_holder_and_a_name_that_is_taken_is_no_obstacle(tmp_path):
    assert not is_free(tmp_path / LOCK) and not is_held(tmp_path / LOCK)
    with held(tmp_path / LOCK):
        assert is_held(tmp_path / LOCK) and not is_free(tmp_path / LOCK)
    assert not (tmp_path / LOCK).exists()
    with temporary_folder("x-", tmp_path, "1") as one, temporary_folder("x-", tmp_path, "1") as other:
        assert one.name == "x-1" and other.name.startswith("x-") and one != other
