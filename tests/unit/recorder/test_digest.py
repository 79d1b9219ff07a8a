"""The digest sm128 against golden vectors, which plain Python integers made."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.evidence.tensor_digest import tensor_digest
from tests.unit.recorder.conftest import ROOT, SCRIPTS
from tests.unit.recorder.sm128_reference import content_of, golden_vectors, reference_digest

GOLDEN = ROOT / "tests" / "golden" / "digests.json"


@pytest.fixture(scope="module")
def vectors() -> list[dict]:
    return json.loads(Path(GOLDEN).read_text(encoding="utf-8"))["vectors"]


@pytest.fixture(scope="module")
def probe(torch_python) -> dict:
    done = subprocess.run(
        [torch_python, SCRIPTS / "digest_probe.py"], input=GOLDEN.read_bytes(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_golden_file_holds_what_the_definition_gives(vectors):
    assert vectors == golden_vectors()


def test_the_host_computes_the_golden_digests(vectors):
    for vector in vectors:
        assert str(tensor_digest(content_of(vector), vector["dtype"], vector["shape"])) == vector["digest"]


def test_vectors_that_differ_in_a_bit_a_place_a_shape_or_a_dtype_have_different_digests(vectors):
    assert len({vector["digest"] for vector in vectors}) == len(vectors)


@pytest.mark.parametrize("arithmetic", ["numpy", "torch"])
@pytest.mark.parametrize("way", ["together", "alone", "spread", "graph", "shifted"])
def test_the_recorder_computes_the_golden_digests(vectors, probe, arithmetic, way):
    found = probe["ways"][f"{arithmetic} {way}"]
    assert found == {vector["name"]: [vector["dtype"], vector["shape"], vector["digest"]] for vector in vectors}


def test_a_lazily_conjugated_tensor_has_the_digest_of_its_values(probe):
    lazy, real = probe["conj"]
    assert lazy == real


def test_a_value_that_is_no_tensor_has_the_digest_of_its_bytes(probe):
    assert probe["text"] == reference_digest("uint8", [7], b'{"a":1}')
