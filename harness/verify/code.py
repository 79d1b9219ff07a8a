"""The exported code of a run: its digest, the experiment that it declares, its locks, and its review, made again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.archive.code_tar import read_code, unpack_code
from harness.documents.digest import Data, Digest, canonical_json, sha256
from harness.documents.document import REMEDY
from harness.documents.experiment import LIMITS, Experiment, parse_experiment
from harness.documents.names import NAME
from harness.errors import EvidenceError, TamperedError, UsageError
from harness.review.evidence.basis import Basis
from harness.review.target import basis_of, target_of_experiment
from harness.system.files import Files, FolderFiles
from harness.system.held import temporary_folder
from harness.system.project import EXPERIMENTS, STOCK
from harness.system.sources import sources_digest
from harness.system.store import Store, tree_digest
from harness.verify.comparison import first_difference
from harness.verify.material import CODE_TAR, Material
from harness.verify.record import Record

MAX_CODE_BYTES = 1 << 32
_MAX_TEXT_BYTES = 1 << 20
_MAX_LOCK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The code, where it lies: a folder's, or the bytes of `code.tar`."""

    files: Files
    digest: Digest
    tar: Data | None = None
    folder: Path | None = None

    @contextlib.contextmanager
    def unpacked(self) -> Iterator[Path]:
        """A folder with the code; of an archive a temporary one."""
        if self.folder is not None:
            yield self.folder
            return
        assert self.tar is not None  # one of the two is there
        with temporary_folder() as scratch:
            target = scratch / "code"
            try:
                unpack_code(self.tar, target)
            except (OSError, ValueError) as error:
                raise TamperedError(f"{CODE_TAR} cannot be unpacked: {error}", REMEDY) from error
            yield target


def read_exported(material: Material) -> Code:
    """The code of an archive or of a run's folder.

    Raises:
        TamperedError: it is not there, or not in its canonical form.
    """
    if material.code is not None:
        return Code(files=FolderFiles(material.code), digest=tree_digest(material.code), folder=material.code)
    try:
        data = material.files.read(CODE_TAR, max_bytes=MAX_CODE_BYTES)
    except EvidenceError as error:
        raise TamperedError(error.problem, REMEDY) from error
    files = read_code(data)
    return Code(files=files, digest=files.tree_digest(), tar=data)


def check_code(record: Record, code: Code, config: bytes) -> int:
    """Hold the code against the manifest: digest, experiment, configuration, locks.

    Args:
        record: the documents.
        code: the code.
        config: `config.json`, as the processes were given it.

    Returns:
        How many locks were compared.

    Raises:
        TamperedError: something is not what the manifest says.
    """
    if code.digest != record.code:
        raise TamperedError(f"the code's digest is {code.digest}, manifest.json says {record.code}", REMEDY)
    experiment = _declared(record, code.files)
    declared = experiment.model_dump(mode="json", by_alias=True, exclude=set(LIMITS - experiment.model_fields_set))
    if different := first_difference(declared, record.experiment.to_json(), only_common=True):
        raise TamperedError(f"manifest.json has another experiment than the code declares: {different}", REMEDY)
    if config != canonical_json(record.experiment.config) + b"\n":
        raise TamperedError("config.json is not the configuration of the experiment", REMEDY)
    num = 0
    for name, told in record.manifest.image.locks.items():
        stock = STOCK / name
        if stock.is_file() and not code.files.exists(f"lockfiles/{name}"):
            if record.manifest.harness.sources != str(sources_digest()):
                continue  # it came with another version of the harness
            data = stock.read_bytes()
        else:
            data = _read(code.files, f"lockfiles/{name}", _MAX_LOCK_BYTES)
        if str(sha256(data)) != told:
            raise TamperedError(f"lockfiles/{name} in the code is not the lock that manifest.json names", REMEDY)
        num += 1
    return num


def review_again(record: Record, code: Code, store: Store | None) -> Basis:
    """What the review of the code stands on, read again; what the run left is not in it yet.

    Raises:
        TamperedError: the code cannot be reviewed.
    """
    with code.unpacked() as folder:
        try:
            return basis_of(record.experiment, target_of_experiment(record.experiment, folder), store)
        except UsageError as error:
            raise TamperedError(f"the code cannot be reviewed again: {error.problem}", REMEDY) from error


def _declared(record: Record, files: Files) -> Experiment:
    name = record.manifest.name
    if not NAME.fullmatch(name):
        raise TamperedError(f"manifest.json: {name[:80]!a} is no experiment's name", REMEDY)
    path = (EXPERIMENTS / f"{name}.yaml").as_posix()

    def text(name: str) -> str:
        return _read(files, (EXPERIMENTS / f"{name}.yaml").as_posix(), _MAX_TEXT_BYTES).decode("utf-8")

    try:
        return parse_experiment(text(name), path, text, record.manifest.overrides)
    except (UsageError, UnicodeDecodeError) as error:
        raise TamperedError(f"{path} in the code cannot be read: {error}", REMEDY) from error


def _read(files: Files, path: str, max_bytes: int) -> bytes:
    try:
        return bytes(files.read(path, max_bytes=max_bytes))
    except EvidenceError as error:
        raise TamperedError(error.problem, REMEDY) from error


def with_files(basis: Basis, files: Files) -> Basis:
    """The basis with what the straight run wrote beside its declared files."""
    from harness.runs.load_metrics import load_run_files

    return dataclasses.replace(basis, files=load_run_files(files.below("straight"), "straight"))
