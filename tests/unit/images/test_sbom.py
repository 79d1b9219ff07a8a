import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from harness.documents.lockfile import parse_base_lock, parse_lock
from harness.images.sbom import sbom
from harness.system.project import STOCK
from tests import ROOT

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LOCK = parse_lock(
    f"# resolved as of 2026-11-23T08:33:39Z\ntorch==2.13.0+cpu --hash={A} --hash={B}\n"
    f'color==1 ; sys_platform == "win32" --hash={B}\n'
    f"# wheel torch torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl 17 {B}\n",
    "tiny.lock",
)
BASE = parse_base_lock(f"libc6 1:2.36-9+deb12u1 amd64 17 {A} pool/main/g/glibc/libc6.deb\n", "base-x.lock")
REGISTRY = "example.org/debian@" + A


def made(**options):
    return json.loads(sbom("tiny", LOCK, BASE, **options))


def problems(text):
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def test_the_projects_own_image_is_listed_whole_and_valid():
    lock = parse_lock((ROOT / "lockfiles" / "cpu.lock").read_text(), "cpu.lock")
    base = parse_base_lock((STOCK / "base-bookworm.lock").read_text(), "base-bookworm.lock")
    text = sbom("cpu", lock, base, A, {"torch": "Apache-2.0 AND MIT", "tqdm": "MIT", "sympy": "BSD"})
    assert problems(text) is None
    found = {(one["name"], one["version"], one["hashes"][0]["content"]) for one in json.loads(text)["components"]}
    wanted = {(pin.name, pin.version, pin.wheel.sha256.removeprefix("sha256:")) for pin in lock.pins}
    wanted |= {(one.name, one.version, one.sha256.removeprefix("sha256:")) for one in base.packages}
    assert found == wanted


def test_the_validator_would_notice_a_wrong_document():
    document = made()
    document["components"][0]["type"] = "nonsense"
    assert problems(json.dumps(document)) is not None


@pytest.mark.parametrize("options", [{}, {"image_id": A}, {"licences": {"torch": "no known licence, really"}}])
def test_every_form_is_valid(options):
    assert problems(sbom("tiny", LOCK, BASE, **options)) is None


def test_a_registry_base_is_one_component_by_its_digest():
    text = sbom("tiny", LOCK, None, base_image=REGISTRY)
    assert problems(text) is None
    base = next(one for one in json.loads(text)["components"] if one["type"] == "container")
    assert (base["name"], base["version"]) == ("example.org/debian", A)
    assert base["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]


def test_urls_of_packages_name_what_was_taken():
    urls = {one["name"]: PackageURL.from_string(one["purl"]) for one in made()["components"]}
    torch, libc = urls["torch"], urls["libc6"]
    assert (torch.type, torch.name, torch.version) == ("pypi", "torch", "2.13.0+cpu")
    assert torch.qualifiers == {"file_name": "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"}
    assert (libc.type, libc.namespace, libc.version) == ("deb", "debian", "1:2.36-9+deb12u1")
    assert libc.qualifiers == {"arch": "amd64", "distro": "bookworm"}


def test_the_hash_is_that_of_the_wheel_that_is_taken_and_other_platforms_pins_are_left_out():
    wheels = [one for one in made()["components"] if one["purl"].startswith("pkg:pypi")]
    assert [(one["name"], one["hashes"][0]["content"]) for one in wheels] == [("torch", "b" * 64)]


@pytest.mark.parametrize(
    ("words", "stands_as"),
    [
        ("MIT", {"license": {"id": "MIT"}}),
        ("MIT OR Apache-2.0", {"expression": "MIT OR Apache-2.0"}),
        ("BSD", {"license": {"name": "BSD"}}),
    ],
)
def test_a_licence_is_an_expression_an_identifier_or_words(words, stands_as):
    torch = next(one for one in made(licences={"torch": words})["components"] if one["name"] == "torch")
    assert torch["licenses"] == [stands_as]


def test_the_image_is_what_the_document_is_about_and_depends_on_everything():
    document = made(image_id=A)
    image = document["metadata"]["component"]
    assert (image["type"], image["name"], image["version"]) == ("container", "repro-harness/tiny", A)
    graph = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert sorted(graph[image["bom-ref"]]) == sorted(one["bom-ref"] for one in document["components"])


def test_the_time_is_the_locks_own_or_none():
    assert made()["metadata"]["timestamp"] == "2026-11-23T08:33:39Z"
    undated = parse_lock(f"six==1 --hash={A}\n", "x")
    assert "timestamp" not in json.loads(sbom("x", undated, None))["metadata"]


def test_the_same_locks_give_the_same_bytes_and_anything_else_another_serial_number():
    assert sbom("tiny", LOCK, BASE) == sbom("tiny", LOCK, BASE)
    documents = [made(), made(image_id=A), made(image_id=B), made(licences={"torch": "MIT"})]
    documents.append(json.loads(sbom("tiny", LOCK, None)))
    assert len({one["serialNumber"] for one in documents}) == len(documents)


def test_the_serial_number_is_a_name_based_uuid():
    import uuid

    value = uuid.UUID(made()["serialNumber"])
    assert (value.version, value.variant) == (5, uuid.RFC_4122)
    text = "\n".join(("tiny", LOCK.digest, BASE.digest, "", "{}"))
    assert value == uuid.uuid5(uuid.NAMESPACE_URL, text)
