"""The CUDA image: about 3 GB of wheels, built twice from nothing. Slow: `make test-slow`. No GPU is needed for it."""

import os

import pytest

from harness.documents.cuda import cuda_stack
from harness.images.builder import build_for_certificate
from harness.images.recipe import read_recipe
from harness.system.store import open_store
from tests import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# Plugins for several machines. What they need is not in any wheel, and nothing loads them on one machine.
TRANSPORTS = {
    "libcufile_rdma.so.1": "libmlx5.so.1",
    "nvshmem_bootstrap_mpi.so.3": "libmpi.so.40",
    "nvshmem_bootstrap_pmix.so.3": "libpmix.so.2",
    "nvshmem_bootstrap_shmem.so.3": "liboshmem.so.40",
    "nvshmem_transport_ibdevx.so.3": "libmlx5.so.1",
    "nvshmem_transport_ibgda.so.3": "libmlx5.so.1",
    "nvshmem_transport_libfabric.so.3": "libfabric.so.1",
    "nvshmem_transport_ucx.so.3": "libucs.so.0",
}
LOAD = """
import ctypes, pathlib, torch
print(torch.version.cuda, torch.backends.cudnn.version(), torch.cuda.is_available())
for path in sorted((pathlib.Path(torch.__file__).parents[1] / "nvidia").rglob("*.so*")):
    try:
        ctypes.CDLL(str(path))
        print("loaded", path.name)
    except OSError as error:
        print("failed", path.name, str(error).split(":")[0])
"""


@pytest.fixture(scope="module")
def image(client):
    return build_for_certificate(client, "cuda", ROOT, open_store(None, os.environ), print, rebuild_required=True)


def run(client, image, script):
    options = {"network_mode": "none", "read_only": True, "tmpfs": {"/tmp": ""}, "remove": True, "cap_drop": ["ALL"]}
    return client.containers.run(image.tag, ["python3", "-c", script], **options).decode()


def test_two_builds_from_nothing_give_one_id(image):
    assert image.rebuild.is_identical, image.rebuild.differences
    assert image.key == read_recipe(ROOT, "cuda").key


def test_torch_and_every_library_of_nvidias_wheels_load_but_for_the_transports_between_machines(client, image):
    first, *lines = run(client, image, LOAD).splitlines()
    stack = cuda_stack(read_recipe(ROOT, "cuda").lock)
    cuda, cudnn, has_gpu = first.split()
    major, minor, patch = (int(part) for part in stack.cudnn.split(".")[:3])
    assert (cuda, int(cudnn), has_gpu) == (stack.cuda, major * 10000 + minor * 100 + patch, "False")
    loaded = {line.split()[1] for line in lines if line.startswith("loaded")}
    failed = dict(line.split()[1:] for line in lines if line.startswith("failed"))
    assert failed == TRANSPORTS
    for library in ("cublas", "cudnn", "cufft", "curand", "cusolver", "cusparse", "nccl", "nvJitLink", "cudart"):
        assert any(library in name for name in loaded), library


def test_the_libraries_that_train_import(client, image):
    assert run(client, image, "import transformers, peft, accelerate, triton, pynvml; print('ok')") == "ok\n"
