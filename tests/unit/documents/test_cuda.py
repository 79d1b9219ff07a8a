import pytest

from harness.documents.cuda import CudaStack, cuda_major, cuda_stack
from harness.documents.lockfile import parse_lock
from tests import ROOT

HASH = "sha256:" + "a" * 64


def lock_of(*pins):
    return parse_lock("".join(f"{pin} --hash={HASH}\n" for pin in pins), "x.lock")


def test_the_stack_of_a_cuda_13_lock_is_read_from_the_runtime():
    lock = lock_of(
        "torch===2.13.0", "nvidia-cuda-runtime==13.0.96", "nvidia-cudnn-cu13==9.20.0.48", "cuda-toolkit==13.1"
    )
    assert cuda_stack(lock) == CudaStack(cuda="13.0", cudnn="9.20.0.48", torch="2.13.0", min_driver="580.65.06")


@pytest.mark.parametrize(
    ("pins", "cuda", "driver"),
    [
        (["torch==2.9.0+cu128", "nvidia-cuda-runtime-cu12==12.8.90"], "12.8", "525.60.13"),
        (["torch==2.4.0+cu118"], "11.8", "450.80.02"),
        (["cuda-toolkit==13.2.0"], "13.2", "580.65.06"),
        (["nvidia-cuda-runtime==14.0.1"], "14.0", ""),
        (["nvidia-nccl-cu12==2.20.5"], "", ""),
    ],
)
def test_the_driver_follows_from_cudas_major_version(pins, cuda, driver):
    stack = cuda_stack(lock_of(*pins))
    assert (stack.cuda, stack.min_driver) == (cuda, driver)


@pytest.mark.parametrize("pins", [["torch==2.13.0+cpu"], ["torch==2.13.0"], ["nvidia-ml-py==13.615.71"], []])
def test_a_lock_that_brings_no_cuda_has_no_stack(pins):
    assert cuda_stack(lock_of(*pins)) is None


@pytest.mark.parametrize(
    ("pin", "major"),
    [
        ("nvidia-cudnn-cu12==9.1.0", 12),
        ("nvidia-cublas==13.1.1.3", 13),
        ("nvidia-nvjitlink==13.5.37", 13),
        ("nvidia-cufft==12.0.0.61", None),
        ("cuda-pathfinder==1.9.0", None),
    ],
)
def test_a_part_tells_its_cuda_by_suffix_or_version_or_not_at_all(pin, major):
    assert cuda_major(lock_of(pin).pins[0]) == major


def test_this_projects_cuda_lock_says_what_it_needs():
    path = ROOT / "lockfiles" / "cuda.lock"
    stack = cuda_stack(parse_lock(path.read_text(), path.name))
    assert stack.min_driver
    assert stack.cudnn
    assert stack.torch
