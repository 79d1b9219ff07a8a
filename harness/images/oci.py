"""An image as an OCI layout: a folder that skopeo, podman, containerd and archives of the next decade can read.

The layers are not compressed: what a compressor writes changes with its version, and the digest of a layer in the
manifest is then the one in the image's configuration. The commit stands in the index, as an annotation: many commits
give one image, and its manifest's digest is the same for all of them.

Source: OCI Image Format Specification 1.0, "Image Layout", "Image Manifest" and "Annotations".
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import docker

from harness.errors import HostError, UsageError
from harness.images import oci_documents
from harness.images.engine_images import engine_faults, save_image
from harness.images.image import BuildResult
from harness.images.layer_tar import encode
from harness.images.oci_documents import Blob
from harness.images.saved_image import CanonicalImage, reread, spool
from harness.system.store import Store, disk_errors


def write_oci(client: docker.DockerClient, result: BuildResult, commit: str, target: Path, store: Store) -> str:
    """Write an image that the engine has into a new folder, with the commit in its index.

    Returns:
        The manifest's digest.

    Raises:
        UsageError: the folder is in use.
        HostError: the engine or the disk failed.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already", "give a folder that does not exist")
    with disk_errors("writing the OCI layout"), engine_faults(), store.scratch("oci") as folder:
        image = reread(spool(save_image(client, result.tag), folder))
        if image.image_id != result.image_id:
            problem = f"the engine gave {image.image_id} for {result.tag}, which is {result.image_id}"
            raise HostError(problem, "remove that tag and build the image again")
        # Beside the target, so that it appears whole: the last step is a rename.
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            digest = write_layout(image, partial, result.tag, commit)
            if target.exists():
                target.rmdir()
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return digest


def write_layout(image: CanonicalImage, folder: Path, name: str, commit: str) -> str:
    """Write an image's layout into a folder that does not exist; returns the manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = [_write(blobs, encode(layer.entries)) for layer in image.layers]
    manifest = _write(blobs, [oci_documents.render_image(_write(blobs, [image.config]), layers)])
    annotations = {oci_documents.REF_NAME: name.rpartition(":")[2]}
    annotations |= {"org.opencontainers.image.revision": commit} if commit else {}
    index = oci_documents.Index(manifests=(oci_documents.image_entry(manifest, annotations),))
    (folder / oci_documents.INDEX_FILE).write_bytes(oci_documents.render(index))
    (folder / oci_documents.LAYOUT_FILE).write_bytes(oci_documents.LAYOUT)
    return manifest.digest


def _write(folder: Path, chunks: Iterable[bytes]) -> Blob:
    blob = oci_documents.write_blob(folder / "partial", chunks)
    (folder / "partial").replace(folder / blob.digest.removeprefix("sha256:"))
    return blob
