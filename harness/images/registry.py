"""Bases from a registry: an image by its digest, pulled by the engine, verified, and kept as one canonical layer.

The digest in the Dockerfile is that of a manifest, or of an index of which the engine takes linux/amd64. The engine
verifies manifest and layers against it while it pulls. What is kept no longer depends on the registry.
"""

from __future__ import annotations

import docker
import docker.errors

from harness.documents.dockerfile import BaseReference
from harness.errors import HarnessError, HostError, UsageError
from harness.images.base import BASE_VERSION, Base, cached_base, keep_base
from harness.images.engine_images import find_image, patience, remove_images, save_image
from harness.images.image import image_key
from harness.images.layer import squash
from harness.images.layer_tar import read_layer
from harness.images.saved_image import spool
from harness.system.store import Progress, Store, disk_errors

_CHANGED = ("verification failed", "does not match", "digest mismatch", "mismatched digest", "unexpected commit digest")
_ABSENT = ("not found", "manifest unknown", "name unknown", "no such", "does not exist")
_DENIED = ("unauthorized", "denied", "authentication required", "no basic auth")


def registry_key(base: BaseReference) -> str:
    """The digest of everything that a base from a registry is a function of."""
    return image_key({"digest": base.digest.encode(), "version": BASE_VERSION})


def registry_base(client: docker.DockerClient, base: BaseReference, store: Store, progress: Progress) -> Base:
    """The base of a digest: from the cache, or pulled.

    Raises:
        UsageError: the registry has no such image, gives other bytes than the digest says, or one for another platform.
        HostError: the registry cannot be reached or refuses, or the disk is full.
    """
    name = base.name.rpartition("/")[2]
    key = registry_key(base)
    with store.locked("base"), disk_errors("keeping the base"):
        if found := cached_base(name, key, store):
            return found
        was_here = find_image(client, base.pull) is not None
        if not was_here:
            store.needs_network(f"the base {base.pull}")
            progress(f"pulling {base.pull}")
            _pull(client, base)
        try:
            return _keep(client, base, name, key, store)
        finally:
            if not was_here:
                remove_images(client, [base.pull])


def _keep(client: docker.DockerClient, base: BaseReference, name: str, key: str, store: Store) -> Base:
    value = client.api.inspect_image(base.pull)  # type: ignore[no-untyped-call]
    if base.pull not in (value.get("RepoDigests") or ()):
        problem = f"the engine has {base.pull} under the digests {value.get('RepoDigests')}"
        raise UsageError(problem, "pin the digest that the registry gives for this image")
    platform = f"{value.get('Os')}/{value.get('Architecture')}"
    if platform != "linux/amd64":
        raise UsageError(f"{base.pull} is for {platform}", "pin the digest of an image for linux/amd64")
    with store.scratch("pulled") as folder:
        saved = spool(save_image(client, base.pull), folder)
        if not saved.layers:
            raise UsageError(f"{base.pull} has no files", "pin an image that holds a system with Python")
        return keep_base(name, key, squash(read_layer(path) for path in saved.layers), saved.config, store)


def _pull(client: docker.DockerClient, base: BaseReference) -> None:
    try:
        with patience(client):
            for message in client.api.pull(base.name, tag=base.digest, stream=True, decode=True):
                if error := message.get("error"):
                    raise _refused(base, str(error))
    except docker.errors.APIError as error:
        raise _refused(base, str(error.explanation or error)) from error


def _refused(base: BaseReference, said: str) -> HarnessError:
    lower = said.lower()
    if any(sign in lower for sign in _CHANGED):
        problem = f"what the registry gives for {base.pull} is not what the digest says: {said}"
        return UsageError(problem, "somebody changed the image in the registry: do not use it before you know who")
    if any(sign in lower for sign in _DENIED):
        return HostError(f"the registry refuses {base.pull}: {said}", "log in with `docker login`")
    if any(sign in lower for sign in _ABSENT):
        remedy = "check the name and the digest; registries delete old images: pin another, or bootstrap a base lock"
        return UsageError(f"the registry has no {base.pull}: {said}", remedy)
    return HostError(f"{base.pull} cannot be pulled: {said}", "check the registry, its address and the network")
