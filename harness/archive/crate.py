"""A run as a Process Run RO-Crate: `ro-crate-metadata.json`, which makes its folder readable to archives of research.

It says what was run, with what, on what, when, and what came of it, in the words of schema.org. It is a function of
verdict, manifest and the digests of files: the same run gives the same bytes.

Sources: https://w3id.org/ro/wfrun/process/0.5, https://w3id.org/ro/crate/1.1, the library rocrate.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.archive.licence import licence_of
from harness.documents.digest import sha256
from harness.errors import EvidenceError
from harness.signing.provenance import hex_of, input_uri
from harness.system.safe_read import clean, safe_read
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
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
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


def write_crate(folder: Path, verdict: Mapping[str, Any], manifest: Mapping[str, Any]) -> Path:
    """Write the crate of a run beside its documents; the last of them but the certificate.

    Args:
        folder: the run's folder, with `code/` and every document in it.
        verdict: `verdict.json`.
        manifest: `manifest.json`.
    """
    digests = dict(_digests(folder, manifest))
    target = folder / CRATE
    write_atomically(target, render_crate(verdict, manifest, digests, _licence_in(folder / "code")))
    return target


def _digests(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The digests of what is there; no link that a run left is followed, and outputs are not hashed a second time."""
    for name in described_files(manifest):
        with contextlib.suppress(EvidenceError):
            data = safe_read(folder, name, max_bytes=_MAX_FILE_BYTES)
            known = _output(name, manifest)
            yield name, str(known["sha256"] if known and known["sha256"] else sha256(memoryview(data)))


def described_files(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of a run's folder that its crate describes, where they are there: documents, ledgers, results."""
    ledgers = [_ledger(run) for run in manifest["runs"]]
    results = [name for trajectory in manifest["trajectories"] for name in _results(manifest, trajectory)]
    return (*_DOCUMENTS, *sorted({*ledgers, *results}))


def render_crate(
    verdict: Mapping[str, Any], manifest: Mapping[str, Any], digests: Mapping[str, str], licence: str | None
) -> str:
    """The text of `ro-crate-metadata.json`.

    Args:
        verdict: `verdict.json`.
        manifest: `manifest.json`.
        digests: `sha256:<hex>` of the files that are there, by their names in the run's folder; what
            `described_files` does not name is left out.
        licence: the code's SPDX identifier, where it is known for certain.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: a document does not have the form that this program writes.
    """
    # The library reads half a megabyte of vocabulary when it is imported.
    from rocrate.model import ContextEntity, File  # type: ignore[import-untyped]
    from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

    crate = ROCrate(version=_CRATE_VERSION)
    crate.metadata.extra_terms = {term: _TERMS + term for term in _OWN_TERMS}
    # A name that is no UTF-8 has no URI that every reader would turn into the same name.
    present = [name for name in described_files(manifest) if name in digests and clean(name) == name]
    for name in present:
        crate.add(File(crate, dest_path=name, properties=_file(name, digests[name], manifest)))
    actions = list(_actions(verdict, manifest, present))
    for identifier, properties in (*_things(verdict, manifest, licence), *actions):
        crate.add(ContextEntity(crate, identifier, properties=properties))
    root = _root(verdict, manifest, licence)
    for key, value in {**root, "mentions": _one_or_all([_ref(identifier) for identifier, _ in actions])}.items():
        crate.root_dataset[key] = value
    document = crate.metadata.generate()
    document["@graph"].sort(key=lambda entity: (entity["@id"] not in (CRATE, "./"), entity["@id"]))
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _root(verdict: Mapping[str, Any], manifest: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
    return {
        "name": f"{verdict['experiment']}: {verdict['verdict']} (run {verdict['run_id']})",
        "description": verdict["summary"],
        "datePublished": _moment(manifest["volatile"]["finished"]),
        "license": _ref(_licence_id(licence)) if licence else _NO_LICENCE,
        "conformsTo": _ref(PROFILE),
    }


def _things(
    verdict: Mapping[str, Any], manifest: Mapping[str, Any], licence: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is no file: the profile, the programs, the image, the inputs, the environment, the licence."""
    yield PROFILE, {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    if licence:
        yield _licence_id(licence), {"@type": "CreativeWork", "name": licence, "description": _LICENCE_NOTE}
    state = ", with uncommitted changes" if verdict["dirty"] else ""
    code = {"name": f"code of {verdict['experiment']}", "softwareVersion": f"{verdict['commit']}{state}"}
    yield "#code", {"@type": "SoftwareApplication", **code, "description": "the training code, at its git commit"}
    harness = {"name": "repro-harness", "softwareVersion": manifest["harness"]["version"]}
    yield "#harness", {"@type": "SoftwareApplication", **harness, "description": "runs, compares and judges"}
    image = manifest.get("image") or {}
    if image.get("id"):
        docker = {"additionalType": _ref(f"{_TERMS}DockerImage"), "name": f"{image['name']}"}
        yield "#image", {"@type": "ContainerImage", **docker, "sha256": hex_of(image["id"])}
    for name, value in sorted(manifest["inputs"].items()):
        given = {"identifier": input_uri(value) or value.get("file"), "version": _version(value)}
        known = {key: text for key, text in given.items() if text}
        yield _input_id(name), {"@type": "CreativeWork", "name": name, "sha256": hex_of(value["sha256"]), **known}
    for name, text in sorted(manifest["experiment"]["environment"].items()):
        yield _variable_id(name), {"@type": "PropertyValue", "name": name, "value": text}


def _actions(
    verdict: Mapping[str, Any], manifest: Mapping[str, Any], present: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """One action for each run of a training, in their order, and one for comparing and judging them."""
    times = {row["run"]: row for row in manifest["volatile"]["runs"]}
    last = {run["trajectory"]: run["number"] for run in manifest["runs"]}
    given = [_ref(_input_id(name)) for name in sorted(manifest["inputs"])]
    given += [_ref(_path_id("config.json"))] if "config.json" in present else []
    variables = [_ref(_variable_id(name)) for name in sorted(manifest["experiment"]["environment"])]
    image = {"containerImage": _ref("#image")} if (manifest.get("image") or {}).get("id") else {}
    evidence: list[str] = []
    for run in manifest["runs"]:
        name = f"{run['trajectory']}/{run['number']}"
        is_last = last[run["trajectory"]] == run["number"]
        made = [_ledger(run), *(_results(manifest, run["trajectory"]) if is_last else ())]
        made = [path for path in made if path in present]
        evidence += made
        yield (
            f"#run-{quote(name)}",
            {
                "@type": "CreateAction",
                "name": f"{name} of {verdict['experiment']}",
                "description": " ".join(run["argv"]),
                "instrument": _ref("#code"),
                "object": _one_or_all(given),
                "result": _one_or_all([_ref(_path_id(path)) for path in made]),
                "environment": _one_or_all(variables),
                **image,
                **_times(times.get(name, {})),
                **_status(run),
            },
        )
    judged = [name for name in _DOCUMENTS if name in present and name not in _MADE_FROM_CODE]
    yield (
        "#judging",
        {
            "@type": "CreateAction",
            "name": f"verdict on {verdict['experiment']}: {verdict['verdict']}",
            "description": verdict["summary"],
            "instrument": _ref("#harness"),
            "object": _one_or_all([_ref(_path_id(path)) for path in evidence]),
            "result": _one_or_all([_ref(_path_id(name)) for name in judged]),
            "actionStatus": "http://schema.org/CompletedActionStatus",
            **_times(manifest["volatile"]),
        },
    )


def _status(run: Mapping[str, Any]) -> dict[str, Any]:
    """How a run ended; one that was killed as planned is a failed action, with the reason."""
    if run["exit_code"] == 0:
        return {"actionStatus": "http://schema.org/CompletedActionStatus"}
    planned = " as planned" if run["killed_by"] else ""
    error = run["error"] or f"ended{planned} with exit code {run['exit_code']}"
    return {"actionStatus": "http://schema.org/FailedActionStatus", "error": error}


def _times(times: Mapping[str, Any]) -> dict[str, str]:
    """Start and end, where they were recorded: outside of a container only durations are."""
    pairs = (("startTime", "started"), ("endTime", "finished"))
    return {name: _moment(times[key]) for name, key in pairs if times.get(key)}


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).replace(microsecond=0).isoformat()


def _file(name: str, digest: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A file's name, digest and media type, and its size where the manifest has it."""
    kind = _MEDIA_TYPES.get(Path(name).suffix, _ANY_MEDIA_TYPE)
    properties = {"name": name, "sha256": hex_of(digest), "encodingFormat": kind}
    known = _output(name, manifest)
    return properties if known is None else {**properties, "contentSize": str(known["size_bytes"])}


def _output(name: str, manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the manifest says of a trajectory's file; None for any other."""
    trajectory, _, path = name.partition("/output/")
    found: Mapping[str, Any] | None = manifest["trajectories"].get(trajectory, {"files": {}})["files"].get(path)
    return found


def _ledger(run: Mapping[str, Any]) -> str:
    return f"{run['trajectory']}/runs/{run['number']}/ledger.jsonl"


def _results(manifest: Mapping[str, Any], trajectory: str) -> list[str]:
    files = manifest["trajectories"].get(trajectory, {"files": {}})["files"]
    return [f"{trajectory}/output/{path}" for path in sorted(files)]


def _version(value: Mapping[str, Any]) -> str | None:
    return value.get("version") or value.get("revision")


def _licence_in(code: Path) -> str | None:
    """The licence that a file at the top of the code names for certain."""
    for name in LICENCE_FILES:
        with contextlib.suppress(EvidenceError):  # missing, a link, or longer than any licence
            data = bytes(safe_read(code, name, max_bytes=_MAX_LICENCE_BYTES))
            return licence_of(data.decode("utf-8", "replace"))
    return None


def _licence_id(licence: str) -> str:
    return f"https://spdx.org/licenses/{licence}"


def _input_id(name: str) -> str:
    return f"#input-{quote(name)}"


def _variable_id(name: str) -> str:
    return f"#environment-{quote(name)}"


def _path_id(name: str) -> str:
    """A file's name as the relative URI that the library gives it."""
    return quote(name)


def _ref(identifier: str) -> dict[str, str]:
    return {"@id": identifier}


def _one_or_all(references: list[dict[str, str]]) -> dict[str, str] | list[dict[str, str]]:
    """A single value stands without brackets in RO-Crate 1.1."""
    return references[0] if len(references) == 1 else references
