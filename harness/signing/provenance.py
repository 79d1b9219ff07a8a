"""SLSA provenance of a training: what it was made from, by what, and when.

The builder is this program on somebody's own machine, so nobody but the signer vouches for it: SLSA Build L1 at most.
docs/guide/signing.md says what the two `urn:`s and the parameters mean.

Source: https://slsa.dev/spec/v1.0/provenance, https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from harness.documents.certificate import EvidenceFile
from harness.documents.manifest import InputFacts, Manifest
from harness.documents.verdict import Verdict
from harness.signing.certificate import hex_of, rfc3339

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:repro-harness:training:v1"
BUILDER = "urn:repro-harness:builder:v1"
_BYPRODUCTS = ("manifest.json", "verdict.json", "/ledger.jsonl")


def provenance(verdict: Verdict, manifest: Manifest, evidence: tuple[EvidenceFile, ...]) -> dict[str, Any]:
    """The predicate; `evidence` is the certificate's.

    Raises:
        TamperedError: the manifest does not say when it began and ended.
    """
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            # What a person chose: the command line.
            "externalParameters": {
                "experiment": verdict.experiment,
                "commit": verdict.commit,
                **({} if verdict.scope is None else {"steps": verdict.scope.steps}),
            },
            # What this program set; the settings of every process stand in manifest.json.
            "internalParameters": {
                "experimentDigest": manifest.experiment_digest,
                "codeDigest": manifest.code.sha256,
                "isWorkingTreeDirty": verdict.dirty,
                "trajectories": sorted(manifest.trajectories),
            },
            "resolvedDependencies": _dependencies(verdict, manifest, evidence),
        },
        "runDetails": {
            # One id for each mode: outside a container nothing keeps a training from the rest of the machine.
            "builder": {
                "id": f"{BUILDER}:{verdict.runner}",
                "builderDependencies": _builder_dependencies(manifest),
                "version": {"repro-harness": manifest.harness.version},
            },
            "metadata": {
                "invocationId": verdict.run_id,
                "startedOn": rfc3339(manifest.volatile.started),
                "finishedOn": rfc3339(manifest.volatile.finished),
            },
            "byproducts": [one.to_json() for one in evidence if one.name.endswith(_BYPRODUCTS)],
        },
    }


def _dependencies(verdict: Verdict, manifest: Manifest, evidence: tuple[EvidenceFile, ...]) -> list[dict[str, Any]]:
    """Commit, code, locks, image and inputs, as far as their digests are known."""
    found: list[dict[str, Any]] = []
    if not verdict.dirty:
        found.append({"name": "commit", "digest": {"gitCommit": verdict.commit}})
    found += [one.to_json() for one in evidence if one.name == "code.tar"]
    own = f"{manifest.experiment.get('image')}.lock"
    for name, digest in sorted(manifest.image.locks.items()):
        if name == own or name.startswith("base-"):  # the manifest lists the locks of all images
            found.append({"name": f"lockfiles/{name}", "digest": {"sha256": hex_of(digest)}})
    if manifest.image.id:
        found.append({"name": f"image {manifest.image.name}", "digest": {"sha256": hex_of(manifest.image.id)}})
    return [*found, *(_input(name, value) for name, value in sorted(manifest.inputs.items()))]


def _input(name: str, value: InputFacts) -> dict[str, Any]:
    uri = input_uri(value)
    entry: dict[str, Any] = {"name": f"inputs/{name}", "digest": {"sha256": hex_of(value.sha256)}}
    if value.hf is not None:
        entry["annotations"] = {"digestOf": "what sha256sum prints for the files, sorted by path"}
    return entry if uri is None else {**entry, "uri": uri}


def input_uri(value: InputFacts) -> str | None:
    """Where an input comes from, as a package URL or a URL; None for a file of the repository."""
    if value.pypi is not None:
        return _package_url("pypi", value.pypi.lower().replace("_", "-"), value.version)
    if value.deb is not None:
        return _package_url("deb/debian", value.deb.lower(), value.version)
    if value.hf is not None:
        return _package_url("huggingface", value.hf, (value.revision or "").lower())
    return value.https


def _package_url(kind: str, name: str, version: str | None) -> str:
    """In purl's canonical form: all but letters, digits and `.-_~:` is escaped, segments are kept."""
    return f"pkg:{kind}/{quote(name, safe='/:')}@{quote(version or '', safe=':')}"


def _builder_dependencies(manifest: Manifest) -> list[dict[str, Any]]:
    """The recorder and this program's own sources, by the digests of their trees."""
    own = {"recorder": manifest.harness.recorder, "harness": manifest.harness.sources}
    return [{"name": name, "digest": {"sha256": hex_of(digest)}} for name, digest in own.items() if digest]
