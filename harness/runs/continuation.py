"""What a certify that is cut off has finished, noted so that another one can go on with it.

Beside the trajectories of a run's folder lies `.finished/` until the certify ends: of each whole trajectory all that it
depends on, and the digest of every file that it left. A trajectory is taken over if both are still so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.documents.document import Model
from harness.documents.experiment import Experiment
from harness.documents.run import RunRecord
from harness.errors import HarnessError
from harness.runs.run_folders import runs_of
from harness.system.disk_sizes import delete
from harness.system.held import LOCK, is_held
from harness.system.store import Progress, file_digest, write_atomically

FOLDER = ".finished"


class _Finished(Model):
    """A trajectory that is whole; `files` has a digest for each file, the target of each link, "" for a folder."""

    depends_on: dict[str, str]
    files: dict[str, str]


class Continuation:
    """The trajectories of one certify that are finished; safe to use from several threads.

    Attributes:
        taken: those that an earlier start of this certify had finished.
    """

    def __init__(self, folder: Path, depends_on: Mapping[str, str], tell: Progress) -> None:
        """Note in `folder`, the run's; `depends_on` names all that every trajectory depends on but the experiment."""
        self._folder, self._depends_on, self._tell = folder, dict(depends_on), tell
        self.taken: list[str] = []

    def clear(self, names: Iterable[str], planned: Iterable[str]) -> None:
        """Remove the trajectories that are half-done, and those that are not planned; `names` are all there may be."""
        for name in names:
            if name not in planned:
                self._note_of(name).unlink(missing_ok=True)
            if not self._note_of(name).is_file():
                self._remove(name)

    def take(self, name: str, experiment: Experiment) -> tuple[RunRecord, ...] | None:
        """The runs of a trajectory that is finished; one that is not as it was, or of something else, is removed."""
        path = self._note_of(name)
        if not path.is_file():
            return None
        why, records = self._look(name, path, experiment)
        if why is None:
            self.taken.append(name)
            self._tell(f"{name}: finished before this certify was cut off, and taken over")
            return records
        self._tell(f"{name} begins again: {why}")
        path.unlink()
        self._remove(name)
        return None

    def keep(self, name: str, experiment: Experiment, records: tuple[RunRecord, ...]) -> tuple[RunRecord, ...]:
        """Note a trajectory that ended; not one that says nothing, for instance because the engine died."""
        if records and not any(record.error for record in records):
            with contextlib.suppress(OSError):  # a full disk: then it is no continuation's
                files = _files(self._folder / name, is_synced=True)
                note = _Finished(depends_on=self._all(experiment), files=files)
                path = self._note_of(name)
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, note.model_dump_json())
                _sync(path)
                _sync(path.parent)
        return records

    def _look(self, name: str, path: Path, experiment: Experiment) -> tuple[str | None, tuple[RunRecord, ...]]:
        """Why a trajectory is not taken over, or None; and its runs."""
        now = self._all(experiment)
        try:
            noted = _Finished.model_validate_json(path.read_bytes())
            other = sorted(key for key in noted.depends_on.keys() | now if noted.depends_on.get(key) != now.get(key))
            if other:
                return f"it was trained with another {', another '.join(other)}", ()
            found = _files(self._folder / name)
            if found != noted.files:
                changed = min(key for key in found.keys() | noted.files if found.get(key) != noted.files.get(key))
                return f"{name}/{changed} is not as it was", ()
            paths = sorted((self._folder / name).glob("run-*.json"), key=lambda path: int(path.stem[4:]))
            runs = (RunRecord.load(path.read_bytes(), path.name) for path in paths)
            return None, tuple(run.model_copy(update={"trajectory": name}) for run in runs)
        except (OSError, ValueError, HarnessError):
            return "it cannot be read", ()

    def _all(self, experiment: Experiment) -> dict[str, str]:
        return {**self._depends_on, "experiment": str(experiment.digest)}

    def _remove(self, name: str) -> None:
        if os.path.lexists(self._folder / name):
            delete(self._folder / name)

    def _note_of(self, name: str) -> Path:
        return self._folder / FOLDER / f"{name}.json"


def cut_off(experiment: Path, commit: str) -> Path | None:
    """The newest run's folder in that of an experiment which was cut off with something finished.

    Args:
        experiment: `runs/<experiment>`.
        commit: of which the run must be.
    """
    for folder in reversed(runs_of(experiment)):
        is_over = (folder / "manifest.json").is_file() or is_held(folder / LOCK)
        if not is_over and folder.name.split("-")[1] == commit[:7] and any(folder.glob(f"{FOLDER}/*.json")):
            return folder
    return None


def num_finished(folder: Path) -> int:
    """How many trajectories a run's folder has whole."""
    return len([*folder.glob(f"{FOLDER}/*.json")])


def remove_remains(folder: Path) -> None:
    """Remove of a run that was cut off all but its trajectories: it is made again."""
    for path in folder.iterdir():
        if path.name in (LOCK, FOLDER) or (folder / FOLDER / f"{path.name}.json").is_file():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _files(folder: Path, *, is_synced: bool = False) -> dict[str, str]:
    """What lies below a folder; `is_synced`: and is on the disk then, also if the machine loses its power."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
            continue
        found[name] = file_digest(path) if path.is_file() else ""
        if is_synced and (path.is_file() or path.is_dir()):
            _sync(path)
    if is_synced:
        _sync(folder)
    return found


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
