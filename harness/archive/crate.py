"""A run as a Process Run RO-Crate: `ro-crate-metadata.json`, which makes its folder readable to archives of research.

It says what was run, with what, on what, when, and what came of it, in the words of schema.org. It is a function of
verdict, manifest and the digests of files: the same run gives the same bytes.

Sources: https://w3id.org/ro/wfrun/process/0.5, https://w3id.org/ro/crate/1.1, the library rocrate.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from harness.archive.licences import licence_of
from harness.documents.manifest import FileFacts, Manifest, Volatile, VolatileRun
from harness.documents.run import RunFacts
from harness.documents.verdict import Verdict
from harness.errors import EvidenceError
from harness.signing.certificate import hex_of
from harness.signing.provenance import input_uri
from harness.system.files import Files, FolderFiles
from harness.system.safe_read import clean
from harness.system.store import write_atomically

CRATE = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_CRATE_VERSION = "1.1"  # what the profile is made for
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_OWN_TERMS = ("ContainerImage", "containerImage", "environment", "sha256")
_DOCUMENTS = (
    "config.json",
    "manifest.json",
    "verdict.json",
    "report.html",
    "summary.md",
    "junit.xml",
    "sbom.cdx.json",
    "badge.svg",
    "macros.tex",
)
_MADE_FROM_CODE = ("config.json", "sbom.cdx.json")
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
_LICENCES = "https://spdx.org/licenses/"
_MAX_LICENCE_BYTES = 1 << 20
_MAX_FILE_BYTES = 1 << 50
_NO_LICENCE = "The code says nothing that names a licence for certain: ask whoever published it."
_LICENCE_NOTE = "The licence of the code. Inputs, and what was trained from them, may stand under others."
# Not what the machine's own table says: equal runs give equal bytes.
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".txt": "text/plain",
    ".xml": "application/xml",
}
_ANY_MEDIA_TYPE = "application/octet-stream"
Entity = tuple[str, dict[str, object]]


def write_crate(folder: Path, verdict: Verdict, manifest: Manifest) -> Path:
    """Write the crate of a run's folder, which holds `code/` and every other document but the certificate."""
    digests = dict(_digests(folder, manifest))
    target = folder / CRATE
    write_atomically(target, render_crate(verdict, manifest, digests, FolderFiles(folder / "code")))
    return target


def described_files(manifest: Manifest) -> tuple[str, ...]:
    """The files of a run's folder that its crate describes, where they are there: documents, ledgers, results."""
    results = [name for trajectory in manifest.trajectories for name in _results(manifest, trajectory)]
    return (*_DOCUMENTS, *sorted({*map(_ledger, manifest.runs), *results}))


def render_crate(verdict: Verdict, manifest: Manifest, digests: Mapping[str, str], code: Files) -> str:
    """The text of `ro-crate-metadata.json`.

    `digests` (`sha256:<hex>`) are those of the files that are there, by their names in the run's folder; what
    `described_files` does not name is left out.

    Raises:
        ValueError, TypeError: the manifest has no times, or others than this program writes.
    """
    # The library reads half a megabyte of vocabulary when it is imported.
    from rocrate.model import ContextEntity, File  # type: ignore[import-untyped]
    from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

    crate = ROCrate(version=_CRATE_VERSION)
    crate.metadata.extra_terms = {term: _TERMS + term for term in _OWN_TERMS}
    # A name that is no UTF-8 has no URI that every reader would turn into the same name.
    present = dict.fromkeys(one for one in described_files(manifest) if one in digests and clean(one) == one)
    for name in present:
        crate.add(File(crate, dest_path=name, properties=_file(name, digests[name], manifest)))
    licence = _licence_in(code)
    actions = [*_runs(verdict, manifest, present), ("#judging", _judging(verdict, manifest, present))]
    for identifier, properties in (*_things(verdict, manifest, licence), *actions):
        crate.add(ContextEntity(crate, identifier, properties=properties))
    root = {
        "name": f"{verdict.experiment}: {verdict.verdict} (run {verdict.run_id})",
        "description": verdict.summary,
        "datePublished": _moment(manifest.volatile.finished),
        "license": _ref(_LICENCES + licence) if licence else _NO_LICENCE,
        "conformsTo": _ref(PROFILE),
        "mentions": _refs(identifier for identifier, _ in actions),
    }
    for key, value in root.items():
        crate.root_dataset[key] = value
    document = crate.metadata.generate()
    document["@graph"].sort(key=lambda entity: (entity["@id"] not in (CRATE, "./"), entity["@id"]))
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _digests(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The digests of what is there; no link that a run left is followed, and outputs are not hashed a second time."""
    files = FolderFiles(folder)
    for name in described_files(manifest):
        with contextlib.suppress(EvidenceError):
            data = files.read(name, max_bytes=_MAX_FILE_BYTES)
            known = _output(name, manifest)
            yield name, known.sha256 if known and known.sha256 else str(files.digest(name, data))


def _things(verdict: Verdict, manifest: Manifest, licence: str | None) -> Iterator[Entity]:
    """What is no file: the profile, the programs, the image, the inputs, the environment, the licence."""
    yield PROFILE, {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    if licence:
        yield _LICENCES + licence, {"@type": "CreativeWork", "name": licence, "description": _LICENCE_NOTE}
    state = ", with uncommitted changes" if verdict.dirty else ""
    code = {"name": f"code of {verdict.experiment}", "softwareVersion": f"{verdict.commit}{state}"}
    yield "#code", {"@type": "SoftwareApplication", **code, "description": "the training code, at its git commit"}
    harness = {"name": "repro-harness", "softwareVersion": manifest.harness.version}
    yield "#harness", {"@type": "SoftwareApplication", **harness, "description": "runs, compares and judges"}
    if manifest.image.id:
        docker = {"additionalType": _ref(f"{_TERMS}DockerImage"), "name": f"{manifest.image.name}"}
        yield "#image", {"@type": "ContainerImage", **docker, "sha256": hex_of(manifest.image.id)}
    for name, value in sorted(manifest.inputs.items()):
        given = {
            "identifier": input_uri(value) or value.file or value.folder,
            "version": value.version or value.revision,
        }
        known = {key: text for key, text in given.items() if text}
        yield _input_id(name), {"@type": "CreativeWork", "name": name, "sha256": hex_of(value.sha256), **known}
    for name, text in _variables(manifest).items():
        yield _variable_id(name), {"@type": "PropertyValue", "name": name, "value": text}


def _runs(verdict: Verdict, manifest: Manifest, present: Collection[str]) -> Iterator[Entity]:
    """One action for each run of a training, in their order."""
    volatile = {row.run: row for row in manifest.volatile.runs}
    last = {run.trajectory: run.number for run in manifest.runs}
    config = [quote(name) for name in ("config.json",) if name in present]
    image = {"containerImage": _ref("#image")} if manifest.image.id else {}
    for run in manifest.runs:
        name = f"{run.trajectory}/{run.number}"
        made = [_ledger(run), *(_results(manifest, run.trajectory) if last[run.trajectory] == run.number else ())]
        action = {
            "@type": "CreateAction",
            "name": f"{name} of {verdict.experiment}",
            "description": " ".join(run.argv),
            "instrument": _ref("#code"),
            "object": _refs([*map(_input_id, sorted(manifest.inputs)), *config]),
            "result": _refs(quote(path) for path in made if path in present),
            "environment": _refs(map(_variable_id, _variables(manifest))),
        }
        yield f"#run-{quote(name)}", {**action, **image, **_times(volatile.get(name)), **_status(run)}


def _judging(verdict: Verdict, manifest: Manifest, present: Collection[str]) -> dict[str, object]:
    """The action of comparing and judging."""
    return {
        "@type": "CreateAction",
        "name": f"verdict on {verdict.experiment}: {verdict.verdict}",
        "description": verdict.summary,
        "instrument": _ref("#harness"),
        "object": _refs(quote(path) for path in _evidence(manifest) if path in present),
        "result": _refs(quote(name) for name in _DOCUMENTS if name in present and name not in _MADE_FROM_CODE),
        "actionStatus": "http://schema.org/CompletedActionStatus",
        **_times(manifest.volatile),
    }


def _evidence(manifest: Manifest) -> Iterator[str]:
    """What the runs left, run by run; a trajectory's results with its last one."""
    last = {run.trajectory: run.number for run in manifest.runs}
    for run in manifest.runs:
        yield _ledger(run)
        yield from _results(manifest, run.trajectory) if last[run.trajectory] == run.number else ()


def _status(run: RunFacts) -> dict[str, str]:
    """How a run ended; one that was killed as planned is a failed action, with the reason."""
    if run.exit_code == 0:
        return {"actionStatus": "http://schema.org/CompletedActionStatus"}
    planned = " as planned" if run.killed_by else ""
    error = run.error or f"ended{planned} with exit code {run.exit_code}"
    return {"actionStatus": "http://schema.org/FailedActionStatus", "error": error}


def _times(times: Volatile | VolatileRun | None) -> dict[str, str]:
    """Start and end, where they were recorded: outside of a container only durations are."""
    pairs = (("startTime", getattr(times, "started", "")), ("endTime", getattr(times, "finished", "")))
    return {name: _moment(text) for name, text in pairs if text}


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).replace(microsecond=0).isoformat()


def _file(name: str, digest: str, manifest: Manifest) -> dict[str, str | None]:
    """A file's name, digest and media type, and its size where the manifest has it."""
    kind = _MEDIA_TYPES.get(Path(name).suffix, _ANY_MEDIA_TYPE)
    properties = {"name": name, "sha256": hex_of(digest), "encodingFormat": kind}
    known = _output(name, manifest)
    return properties if known is None else {**properties, "contentSize": str(known.size_bytes)}


def _output(name: str, manifest: Manifest) -> FileFacts | None:
    """What the manifest says of a trajectory's file; None for any other."""
    trajectory, _, path = name.partition("/output/")
    found = manifest.trajectories.get(trajectory)
    return found.files.get(path) if found else None


def _ledger(run: RunFacts) -> str:
    return f"{run.trajectory}/runs/{run.number}/ledger.jsonl"


def _results(manifest: Manifest, trajectory: str) -> list[str]:
    found = manifest.trajectories.get(trajectory)
    return [f"{trajectory}/output/{path}" for path in sorted(found.files)] if found else []


def _variables(manifest: Manifest) -> dict[str, str]:
    declared = manifest.experiment.get("environment")
    return {name: str(text) for name, text in sorted(declared.items())} if isinstance(declared, dict) else {}


def _licence_in(code: Files) -> str | None:
    """The licence that a file at the top of the code names for certain."""
    for name in _LICENCE_FILES:
        with contextlib.suppress(EvidenceError):  # missing, a link, or longer than any licence
            return licence_of(bytes(code.read(name, max_bytes=_MAX_LICENCE_BYTES)).decode("utf-8", "replace"))
    return None


def _input_id(name: str) -> str:
    return f"#input-{quote(name)}"


def _variable_id(name: str) -> str:
    return f"#environment-{quote(name)}"


def _ref(identifier: str) -> dict[str, str]:
    return {"@id": identifier}


def _refs(identifiers: Iterable[str]) -> dict[str, str] | list[dict[str, str]]:
    """References; a single one stands without brackets in RO-Crate 1.1."""
    references = [_ref(identifier) for identifier in identifiers]
    return references[0] if len(references) == 1 else references
