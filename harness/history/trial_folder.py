"""The folder of a bisection, `runs/<experiment>/bisect-<digest>/`: what was tried, so that it can be continued.

- `question.json`: what is asked.
- `trials/<key>.json`: a trial's answer, by everything that it depends on.
- `reference/`: the good side's training.
- `<what>/`: what a trial left: its ledger and its log.
- `bisect.json`: the result.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.documents.bisection import TrialResult
from harness.documents.digest import canonical_json, sha256
from harness.documents.experiment import Experiment
from harness.documents.run import RunRecord
from harness.errors import EvidenceError, HarnessError, TamperedError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.runs.load_evidence import load_trajectory
from harness.system.store import disk_errors, write_atomically, write_json

_HEAVY = ("code", "inputs", "prepare", "straight/output", "config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFolder:
    """What is known of one question."""

    folder: Path

    @classmethod
    def open(cls, above: Path, question: Mapping[str, object]) -> TrialFolder:
        """The folder of a question below `runs/<experiment>`, made if this is the first time that it is asked.

        Raises:
            HostError: it cannot be made.
        """
        folder = above / f"bisect-{sha256(canonical_json(dict(question))).hex[:12]}"
        with disk_errors("making the bisection's folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "trials").mkdir(exist_ok=True)
            write_json(folder / "question.json", question)
        return cls(folder=folder)

    def read(self, key: str) -> TrialResult | None:
        """The result of a trial; None if it was not made, cannot be read, or may be another next time."""
        try:
            found = TrialResult.load(self._path(key).read_bytes(), key)
        except (OSError, HarnessError):
            return None
        return found if found.is_lasting else None

    def keep(self, key: str, result: TrialResult) -> None:
        with disk_errors("keeping a trial's result"):
            write_atomically(self._path(key), result.write().decode())

    def work(self, name: str) -> Path:
        """An empty folder for one training; whatever an interrupted trial left in it is removed."""
        folder = self.folder / name
        with disk_errors("making a trial's folder"):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        return folder

    @staticmethod
    def lighten(folder: Path) -> None:
        """Remove what a training wrote beside its evidence: nobody wants ten copies of the weights."""
        for name in _HEAVY:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / "trials" / f"{key}.json"


def load_straight(folder: Path, experiment: Experiment) -> TrajectoryEvidence:
    """The straight training that lies in a run's folder, or in a published one, with its files where they are.

    Raises:
        EvidenceError: there is none, or what the host saw of it is malformed.
    """
    try:
        record = RunRecord.load((folder / "straight" / "run-1.json").read_bytes(), "run-1.json")
    except (OSError, TamperedError) as error:
        problem = f"{folder.name}/straight/run-1.json cannot be read: {str(error)[:100]}"
        raise EvidenceError(problem, "train it again") from error
    globs, volatile = (experiment.outputs, experiment.checkpoints), experiment.policy.volatile
    return load_trajectory(folder / "straight", "straight", (record,), *globs, volatile, derived=experiment.derived)


def trial_key(parts: Mapping[str, object]) -> str:
    """The name of a trial: a digest over everything that its answer depends on."""
    return sha256(canonical_json(dict(parts))).hex[:32]
