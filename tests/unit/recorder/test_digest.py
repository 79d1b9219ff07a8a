"""The digests ml128 and sm128 against golden vectors, which plain Python integers made."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.evidence.tensor_digest import ALGORITHMS, tensor_digest
from tests.unit.recorder.conftest import ROOT, SCRIPTS
from tests.unit.recorder.digest_reference import content_of, golden_vectors, reference_digest

GOLDEN = ROOT / "tests" / "golden" / "digests.json"


@pytest.fixture(scope="module")
def vectors() -> list[dict]:
    return json.loads(Path(GOLDEN).read_text(encoding="utf-8"))["vectors"]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The machine code, compiled from its source."""
    return compiled(ROOT, tmp_path_factory.mktemp("library"))


def compiled(project: Path, folder: Path) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", folder, "--build-temp", folder]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    return folder / "harness" / "recorder" / "ml128.so"


@pytest.fixture(scope="module")
def probes(torch_python, library) -> dict[str, dict]:
    def probe(algorithm: str) -> dict:
        command = [torch_python, SCRIPTS / "digest_probe.py", library]
        environment = {**os.environ, "HARNESS_DIGEST": algorithm}
        done = subprocess.run(command, input=GOLDEN.read_bytes(), env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return {algorithm: probe(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def probe(probes) -> dict:
    return probes["ml128"]


def test_the_golden_file_holds_what_the_definition_gives(vectors):
    assert vectors == golden_vectors()


def test_the_host_computes_the_golden_digests(vectors):
    for vector in vectors:
        for algorithm in ALGORITHMS:
            found = tensor_digest(content_of(vector), vector["dtype"], vector["shape"], algorithm)
            assert str(found) == vector[algorithm]


def test_vectors_that_differ_in_a_bit_a_place_a_shape_or_a_dtype_have_different_digests(vectors):
    assert len({vector["ml128"] for vector in vectors}) == len(vectors)


@pytest.mark.parametrize(
    ("algorithm", "arithmetic"),
    [("ml128", "native"), ("ml128", "numpy"), ("ml128", "torch"), ("sm128", "numpy"), ("sm128", "torch")],
)
@pytest.mark.parametrize("way", ["together", "alone", "spread", "graph", "shifted"])
def test_the_recorder_computes_the_golden_digests(vectors, probes, algorithm, arithmetic, way):
    found = probes[algorithm]["ways"][f"{arithmetic} {way}"]
    assert found == {vector["name"]: [vector["dtype"], vector["shape"], vector[algorithm]] for vector in vectors}


def test_tensors_of_any_size_dtype_and_place_in_memory_have_one_digest_whatever_computes_it(probe):
    assert probe["random"]["native"] == probe["random"]["numpy"] == probe["random"]["torch"]


def test_the_machine_code_needs_no_other_library(library):
    named = subprocess.run(["nm", "--dynamic", library], capture_output=True, text=True, check=True).stdout
    assert [line.split()[1:] for line in named.splitlines()] == [["T", "ml128"]]


def test_a_library_that_is_not_there_cannot_be_loaded_or_is_wrong_is_not_used(tmp_path):
    for name in ("setup.py", "harness/recorder/ml128.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text().replace("x * x", "x + x"))
    (tmp_path / "text.so").write_text("no library")
    wrong = compiled(tmp_path, tmp_path / "wrong")
    load = runpy.run_path(str(ROOT / "harness" / "recorder" / "native.py"))["load"]
    expected = {wrong: "gives wrong sums", tmp_path / "text.so": "cannot be loaded", tmp_path / "no.so": "is not there"}
    assert {path: load(str(path)) for path in expected} == {path: (None, why) for path, why in expected.items()}


def test_a_lazily_conjugated_tensor_has_the_digest_of_its_values(probe):
    lazy, real = probe["conj"]
    assert lazy == real


def test_a_value_that_is_no_tensor_has_the_digest_of_its_bytes(probe):
    assert probe["text"] == reference_digest("uint8", [7], b'{"a":1}')
