import glob
import os
import shutil
from pathlib import Path


def prepare(folder, target):
    names = os.listdir(folder)
    names.sort()
    paths = sorted(Path(folder).glob("*.jsonl"), key=str)
    newest = max(glob.glob(f"{folder}/step-*"), key=os.path.getmtime)
    number = len(os.listdir(folder))
    if "done.txt" in os.listdir(folder):
        print("already there")
    for name in os.listdir(folder):
        shutil.copy(os.path.join(folder, name), target)
    for old in Path(target).iterdir():
        if old.suffix == ".tmp":
            old.unlink()
    known = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
    return names, paths, newest, number, known


def checkpoints(folder):
    found = [name for name in os.listdir(folder) if name.startswith("checkpoint")]
    found = sorted(found, key=lambda name: int(name.split("-")[1]))
    return found[-1]


def ls(folder):
    return os.listdir(folder)


def only(folder):
    files = list(Path(folder).glob("*.yaml"))
    if len(files) != 1:
        raise ValueError(f"{len(files)} files in {folder}")
    return files[0]
