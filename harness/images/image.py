"""Images: the canonical configuration, the id that is its digest, the key of what an image is made from, and records.

An image's id is the sha256 of its canonical configuration, which names its layers by digest: `docker images` shows the
same value where the engine uses configuration digests for ids, and calls it by another name elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import JsonValue

from harness.documents.document import Model
from harness.documents.lockfile import digest_of
from harness.errors import UsageError

REPOSITORY = "repro-harness"
_BUILDERS_LABEL = "io.buildah.version"  # podman's builder writes its own version into every image
_CONFIG_KEYS = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "StopSignal", "User", "Volumes", "WorkingDir")


class FileDifference(Model):
    """One path that two builds of an image do not agree on, and how: an example is `content from byte 17`."""

    path: str
    how: str


class BuildRecord(Model):
    """What one build from nothing gave: when it ended (UTC), how long it took, and which engine did it.

    `engine_id` and `tag` are empty for an image that was not loaded.
    """

    image_id: str
    engine_id: str = ""
    tag: str = ""
    built_at: str
    seconds: float
    engine: str


class RebuildRecord(Model):
    """Two builds of an image from nothing: what the *rebuild* check may cite.

    `built_at` are UTC times (ISO 8601) of the two ends, `seconds` the two durations and `engines` what did them; `key`
    is the image's key.
    """

    image: str
    key: str
    image_ids: tuple[str, ...]
    built_at: tuple[str, ...]
    seconds: tuple[float, ...]
    engines: tuple[str, ...]
    differences: tuple[FileDifference, ...] = ()

    @property
    def is_identical(self) -> bool:
        """Whether every build gave the same id; never true of fewer than two builds."""
        return len(self.image_ids) > 1 and len(set(self.image_ids)) == 1

    @property
    def summary(self) -> str:
        """In words, how it was built and when."""
        where = "two engines" if len(set(self.engines)) > 1 else "one engine"
        return f"two builds from nothing on {where}, {' and '.join(self.built_at)}"


class BuildResult(Model):
    """An image that is in the engine.

    `image_id` is the digest of its canonical configuration, the same everywhere; `engine_id` is what this
    engine calls it; a container is run from `tag`. `seconds` is per stage, in order. `rebuild` is the
    record of a double build of the same key that gave the same id, if there is one.
    """

    name: str
    image_id: str
    engine_id: str
    tag: str
    key: str
    size_bytes: int
    seconds: tuple[tuple[str, float], ...]
    was_cached: bool
    rebuild: RebuildRecord | None = None


def image_key(materials: Mapping[str, bytes]) -> str:
    """The digest of everything that an image is a function of: named byte strings, in any order."""
    hasher = hashlib.sha256()
    for name in sorted(materials):
        hasher.update(f"{name} {digest_of(materials[name])}\n".encode())
    return "sha256:" + hasher.hexdigest()


def canonical_config(
    config: Mapping[str, JsonValue],
    diff_ids: tuple[str, ...],
    labels: Mapping[str, str] | None = None,
    history: tuple[str, ...] = (),
) -> bytes:
    """The canonical configuration: platform, what a container inherits, the layers, lowest first; no times.

    Nor a history, unless one is given, a word for each layer: podman builds on no image without.

    Raises:
        UsageError: the configuration names no platform.
    """
    given = config.get("config")
    inherited = dict(given) if isinstance(given, dict) else {}
    before = inherited.get("Labels")
    found = {**(before if isinstance(before, dict) else {}), **(labels or {})}
    inherited["Labels"] = {name: text for name, text in found.items() if name != _BUILDERS_LABEL}
    if not config.get("architecture") or not config.get("os"):
        raise UsageError("the image's configuration names no platform", "build it again")
    kept = {key: inherited[key] for key in _CONFIG_KEYS if inherited.get(key)}
    value = {
        "architecture": config["architecture"],
        "config": kept,
        "os": config["os"],
        "rootfs": {"diff_ids": list(diff_ids), "type": "layers"},
    }
    if history:
        value["history"] = [{"created_by": word} for word in history]
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def image_tag(name: str, image_id: str) -> str:
    """The tag an image is kept under: `repro-harness/<name>:<first 12 digits of its id>`."""
    return f"{REPOSITORY}/{name}:{image_id.removeprefix('sha256:')[:12]}"
