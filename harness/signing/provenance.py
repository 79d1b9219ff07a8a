"""SLSA provenance of a training: what it was made from, by what, and when.

The builder is this program on somebody's own machine, so nobody but the signer vouches for it: SLSA Build L1 at most.
docs/guide/signing.md says what the two `urn:`s and the parameters mean.

Source: https://slsa.dev/spec/v1.0/provenance, https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from pydantic import JsonValue

from harness.documents.certificate import Closed, EvidenceFile
from harness.documents.manifest import InputFacts, Manifest
from harness.documents.verdict import Verdict
from harness.signing.certificate import rfc3339

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:repro-harness:training:v1"
BUILDER = "urn:repro-harness:builder:v1"
_BYPRODUCTS = ("manifest.json", "verdict.json", "/ledger.jsonl")


class ResourceDescriptor(Closed):
    """Something that the outputs were made from or with, by its digests (in-toto's ResourceDescriptor)."""

    name: str
    digest: dict[str, str]
    uri: str | None = None
    annotations: dict[str, str] | None = None


class BuildDefinition(Closed):
    """What a person chose, what this program set, and what the training was made from."""

    build_type: str = BUILD_TYPE
    external_parameters: dict[str, JsonValue]
    internal_parameters: dict[str, JsonValue]
    resolved_dependencies: tuple[ResourceDescriptor, ...]


class Builder(Closed):
    """This program; one id for each mode: outside a container nothing keeps a training from the rest of the machine."""

    id: str
    builder_dependencies: tuple[ResourceDescriptor, ...]
    version: dict[str, str]


class Metadata(Closed):
    invocation_id: str
    started_on: str
    finished_on: str


class RunDetails(Closed):
    """By what and when it was made, and the records that cannot be made again."""

    builder: Builder
    metadata: Metadata
    byproducts: tuple[ResourceDescriptor, ...]


class Provenance(Closed):
    build_definition: BuildDefinition
    run_details: RunDetails


def provenance(verdict: Verdict, manifest: Manifest, evidence: tuple[EvidenceFile, ...]) -> Provenance:
    """The predicate; `evidence` is the certificate's.

    Raises:
        TamperedError: the manifest does not say when it began and ended.
    """
    files = [_resource(one.name, one.digest.sha256) for one in evidence]
    external: dict[str, JsonValue] = {"experiment": verdict.experiment, "commit": verdict.commit}
    if verdict.scope is not None:
        external["steps"] = verdict.scope.steps
    if verdict.overrides:
        external["overrides"] = [*verdict.overrides]
    # The settings of every process stand in manifest.json.
    internal: dict[str, JsonValue] = {
        "experimentDigest": manifest.experiment_digest,
        "codeDigest": manifest.code.sha256,
        "isWorkingTreeDirty": verdict.dirty,
        "trajectories": [*sorted(manifest.trajectories)],
    }
    own = {"recorder": manifest.harness.recorder, "harness": manifest.harness.sources}
    return Provenance(
        build_definition=BuildDefinition(
            external_parameters=external,
            internal_parameters=internal,
            resolved_dependencies=(*_dependencies(verdict, manifest, files),),
        ),
        run_details=RunDetails(
            builder=Builder(
                id=f"{BUILDER}:{verdict.runner}",
                builder_dependencies=tuple(_resource(name, digest) for name, digest in own.items() if digest),
                version={"repro-harness": manifest.harness.version},
            ),
            metadata=Metadata(
                invocation_id=verdict.run_id,
                started_on=rfc3339(manifest.volatile.started),
                finished_on=rfc3339(manifest.volatile.finished),
            ),
            byproducts=tuple(one for one in files if one.name.endswith(_BYPRODUCTS)),
        ),
    )


def _dependencies(
    verdict: Verdict, manifest: Manifest, files: list[ResourceDescriptor]
) -> Iterator[ResourceDescriptor]:
    """Commit, code, locks, image and inputs, as far as their digests are known."""
    if not verdict.dirty:
        yield ResourceDescriptor(name="commit", digest={"gitCommit": verdict.commit})
    yield from (one for one in files if one.name == "code.tar")
    own = f"{manifest.experiment.get('image')}.lock"
    for name, digest in sorted(manifest.image.locks.items()):
        if name == own or name.startswith("base-"):  # the manifest lists the locks of all images
            yield _resource(f"lockfiles/{name}", digest)
    if manifest.image.id:
        yield _resource(f"image {manifest.image.name}", manifest.image.id)
    note = {"digestOf": "what sha256sum prints for the files, sorted by path"}
    for name, value in sorted(manifest.inputs.items()):
        annotations = note if value.hf is not None or value.folder is not None else None
        yield _resource(f"inputs/{name}", value.sha256, input_uri(value), annotations)


def _resource(
    name: str, digest: str, uri: str | None = None, annotations: dict[str, str] | None = None
) -> ResourceDescriptor:
    sha256 = digest.removeprefix("sha256:")
    return ResourceDescriptor(name=name, digest={"sha256": sha256}, uri=uri, annotations=annotations)


def input_uri(value: InputFacts) -> str | None:
    """Where an input comes from, as a package URL or a URL; None for what has only a path."""
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
