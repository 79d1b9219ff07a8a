"""The same bits on other processors: natively, and under two CPU models of other makes and ages, emulated.

Slow: an emulated `import torch` alone takes a minute, a step of `tiny` another.
"""

import json
import os
from pathlib import Path

import pytest

from harness.judge.diff import compare_run
from harness.system.store import open_store
from tests.debian_tools import need
from tests.portability.emulated import EMULATOR, Trainings, run_script

# An Intel of 2013 and an AMD of 2017: both have AVX2 and FMA, to which the experiments are capped, and no AVX-512.
MODELS = ("Haswell-v4", "EPYC-v1")
STEPS = 2
CAPPED = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
ANY_VENDOR = {**CAPPED, "MKL_CBWR": "COMPATIBLE"}

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(5400)]


@pytest.fixture(scope="module", autouse=True)
def emulator():
    need(EMULATOR.name, "qemu-user-static")


@pytest.fixture(scope="module")
def trainings(client, shared_project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("portability") / "tiny"
    return Trainings(shared_project.root, "tiny", STEPS, folder, open_store(None, os.environ))


@pytest.fixture(scope="module")
def native(trainings):
    return trainings.train("native")[0]


@pytest.mark.parametrize("model", MODELS)
def test_tiny_has_the_same_bits_at_every_step_under_another_processor(trainings, native, model):
    emulated, seconds = trainings.train(model, model)
    assert emulated.runs[0].ledger is not None, trainings.log(model)[-3000:]
    compared = compare_run(native, emulated, 1)
    print(f"{model}: {compared.amount}, {seconds:.0f} s")
    found = [(one.step, one.stream) for one in compared.differences]
    assert found == [] and compared.problems == ()
    assert compared.amount.steps == STEPS and compared.amount.tensors > 0


@pytest.fixture(scope="module")
def numerics(trainings):
    def run(model, environment):
        return json.loads(run_script(trainings.image_id, "numerics.py", model, environment))

    return run


@pytest.fixture(scope="module")
def natively(numerics):
    return numerics(None, ANY_VENDOR)


@pytest.mark.parametrize("model", MODELS)
def test_of_what_trainings_compute_only_square_roots_depend_on_the_processor(numerics, natively, model):
    other = numerics(model, ANY_VENDOR)
    names = natively["digests"].keys()
    differing = {name for name in names if natively["digests"][name] != other["digests"][name]}
    assert differing <= {"sqrt", "adamw", "asin", "atan", "tan"}, differing
    assert {"adamw fused", "numpy sqrt", "products"} <= names - differing
    # Why: the last bit of a square root is not what IEEE 754 asks of one, so it need not be the same anywhere.
    assert natively["square roots not rounded correctly"] > 0


def test_without_the_vendor_cap_products_depend_on_the_maker(numerics):
    is_amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    here, other = numerics(None, CAPPED), numerics(MODELS[0] if is_amd else MODELS[1], CAPPED)
    assert here["digests"]["products"] != other["digests"]["products"]
