"""The bill of materials of an image, in CycloneDX: every wheel and every Debian package that its locks name.

It is a function of the locks, and of the image's id and the wheels' licences where they are known: no clock, no chance.
Specification: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.serialization import UrnUuidHelper
from packageurl import PackageURL

from harness.documents.lockfile import BaseLock, BasePackage, Lockfile, Pin
from harness.images.image import REPOSITORY

_NAMESPACE = bytes.fromhex("6ba7b8119dad11d180b400c04fd430c8")  # RFC 9562, 6.6: names that are URLs
_PROPERTY = "repro-harness"


def sbom(
    name: str,
    lock: Lockfile,
    base_lock: BaseLock | None,
    image_id: str | None = None,
    licences: Mapping[str, str] | None = None,
    base_image: str = "",
    distro: str = "bookworm",
) -> str:
    """The bill of materials as indented JSON, sorted, with a newline at its end.

    `licences` are SPDX expressions or words by distribution; `base_image` is the base where there is no lock of it.
    """
    known = dict(licences or {})
    # A pin without a wheel beside others with one is for another platform: the image does not hold it.
    pins = [pin for pin in lock.pins if pin.wheel or not lock.wheels]
    components = [_wheel(pin, known.get(pin.name, "")) for pin in pins]
    components += [_package(package, distro) for package in base_lock.packages] if base_lock else []
    components += [_base_image(base_image)] if base_image and not base_lock else []
    version = image_id.removeprefix("sha256:") if image_id else None
    image = Component(
        name=f"{REPOSITORY}/{name}",
        type=ComponentType.CONTAINER,
        bom_ref=f"image:{name}",
        version=image_id,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=version)] if version else [],
        properties=[Property(name=f"{_PROPERTY}:lock", value=lock.digest)]
        + ([Property(name=f"{_PROPERTY}:base-lock", value=base_lock.digest)] if base_lock else []),
    )
    parts = (
        name,
        lock.digest,
        base_lock.digest if base_lock else base_image,
        image_id or "",
        json.dumps(known, sort_keys=True),
    )
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=image),
        serial_number=UrnUuidHelper.deserialize(_serial_number("\n".join(parts))),
    )
    bom.register_dependency(image, components)
    return _as_text(bom, lock.as_of)


def _as_text(bom: Bom, as_of: str) -> str:
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library fills in the time of the call; the locks' own time is the one that repeats.
    document["metadata"].pop("timestamp", None)
    if as_of:
        document["metadata"]["timestamp"] = as_of
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def _wheel(pin: Pin, licence: str) -> Component:
    """A wheel; without the table of wheels, the distribution alone: which file it is cannot be said."""
    purl = PackageURL("pypi", None, pin.name, pin.version, {"file_name": pin.wheel.filename} if pin.wheel else None)
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[_sha256(pin.wheel.sha256)] if pin.wheel else [],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _package(package: BasePackage, distro: str) -> Component:
    purl = PackageURL("deb", "debian", package.name, package.version, {"arch": package.architecture, "distro": distro})
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[_sha256(package.sha256)],
    )


def _base_image(reference: str) -> Component:
    name, _, digest = reference.partition("@")
    return Component(
        name=name,
        version=digest,
        type=ComponentType.CONTAINER,
        bom_ref=reference,
        hashes=[_sha256(digest)],
    )


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))


def _serial_number(text: str) -> str:
    """A name-based UUID, version 5 (RFC 9562, 5.5), as a URN."""
    digest = bytearray(hashlib.sha1(_NAMESPACE + text.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    digits = digest.hex()
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
