"""SLSA provenance of a training: what it was made from, by what, and when.

The builder is this program on somebody's own machine, so nobody but the signer vouches for it: SLSA Build L1 at most.
docs/guide/signing.md says what the two `urn:`s and the parameters mean.

Source: https://slsa.dev/spec/v1.0/provenance, https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from packageurl import PackageURL

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:repro-harness:training:v1"
BUILDER = "urn:repro-harness:builder:v1"
_BYPRODUCTS = ("manifest.json", "verdict.json", "/ledger.jsonl")


def provenance(verdict: Mapping[str, Any], manifest: Mapping[str, Any], evidence: list[Any]) -> dict[str, Any]:
    """The predicate.

    Args:
        verdict: `verdict.json`.
        manifest: `manifest.json`.
        evidence: the certificate's list of `{"name", "digest"}`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: a document does not have the form that this program writes.
    """
    volatile = manifest["volatile"]
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": _external(verdict),
            "internalParameters": _internal(verdict, manifest),
            "resolvedDependencies": _dependencies(verdict, manifest, evidence),
        },
        "runDetails": {
            # One id for each mode: outside a container nothing keeps a training from the rest of the machine.
            "builder": {
                "id": f"{BUILDER}:{verdict['runner']}",
                "builderDependencies": _builder_dependencies(manifest),
                "version": {"repro-harness": manifest["harness"]["version"]},
            },
            "metadata": {
                "invocationId": verdict["run_id"],
                "startedOn": rfc3339(volatile["started"]),
                "finishedOn": rfc3339(volatile["finished"]),
            },
            "byproducts": [entry for entry in evidence if entry["name"].endswith(_BYPRODUCTS)],
        },
    }


def rfc3339(moment: str) -> str:
    """A moment with an offset, in UTC with `Z`, to the second."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def hex_of(digest: str | None) -> str | None:
    """The hex digits of `sha256:<hex>`; None for None."""
    return None if digest is None else digest.removeprefix("sha256:")


def _external(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What a person chose: the command line."""
    scope = verdict.get("scope")
    return {
        "experiment": verdict["experiment"],
        "commit": verdict["commit"],
        **({} if scope is None else {"steps": scope["steps"]}),
    }


def _internal(verdict: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What this program set; the settings of every process stand in manifest.json."""
    return {
        "experimentDigest": manifest["experiment_digest"],
        "codeDigest": manifest["code"]["sha256"],
        "isWorkingTreeDirty": verdict["dirty"],
        "trajectories": sorted(manifest["trajectories"]),
    }


def _dependencies(verdict: Mapping[str, Any], manifest: Mapping[str, Any], evidence: list[Any]) -> list[dict[str, Any]]:
    """Commit, code, locks, image and inputs, as far as their digests are known."""
    found: list[dict[str, Any]] = []
    if not verdict["dirty"]:
        found.append({"name": "commit", "digest": {"gitCommit": verdict["commit"]}})
    found += [entry for entry in evidence if entry["name"] == "code.tar"]
    image = manifest.get("image") or {}
    own = f"{manifest['experiment']['image']}.lock"
    for name, digest in sorted((image.get("locks") or {}).items()):
        if name == own or name.startswith("base-"):  # the manifest lists the locks of all images
            found.append({"name": f"lockfiles/{name}", "digest": {"sha256": hex_of(digest)}})
    if image.get("id"):
        found.append({"name": f"image {image['name']}", "digest": {"sha256": hex_of(image["id"])}})
    found += [_input(name, value) for name, value in sorted(manifest["inputs"].items())]
    return found


def _input(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    uri = input_uri(value)
    entry: dict[str, Any] = {"name": f"inputs/{name}", "digest": {"sha256": hex_of(value["sha256"])}}
    if "hf" in value:
        entry["annotations"] = {"digestOf": "what sha256sum prints for the files, sorted by path"}
    return entry if uri is None else {**entry, "uri": uri}


def input_uri(value: Mapping[str, Any]) -> str | None:
    """Where an input comes from, as a package URL or a URL; None for a file of the repository."""
    if "pypi" in value:
        return PackageURL("pypi", None, value["pypi"], value["version"]).to_string()
    if "deb" in value:
        return PackageURL("deb", "debian", value["deb"], value["version"]).to_string()
    if "hf" in value:
        owner, _, repository = value["hf"].partition("/")
        return PackageURL("huggingface", owner, repository, value["revision"]).to_string()
    return value.get("https")


def _builder_dependencies(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The recorder and this program's own sources, by the digests of their trees."""
    own = manifest["harness"]
    return [
        {"name": name, "digest": {"sha256": hex_of(own[key])}}
        for name, key in (("recorder", "recorder"), ("harness", "sources"))
        if own.get(key)
    ]
