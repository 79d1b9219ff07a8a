"""Texts of real failures, as they stand in public issues (the number behind each), and texts that must not match."""

import pytest

from harness.runs.gpu_faults import explain_start, fault_in, needs_writable_root

# NVIDIA/nvidia-container-toolkit#147
LDCACHE = (
    "OCI runtime create failed: container_linux.go:380: starting container process caused: process_linux.go:545: "
    "container init caused: Running hook #0:: error running hook: exit status 1, stdout: , stderr: "
    "nvidia-container-cli: ldcache error: process /sbin/ldconfig.real failed with error code: 1: unknown"
)
# NVIDIA/nvidia-container-toolkit#2028
READ_ONLY = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: error running createContainer hook #6: exit "
    'status 1, stdout: , stderr: time="2026-08-26T21:50:49Z" level=error msg="failed to create application profiles '
    'directory: mkdirat etc/nvidia/nvidia-application-profiles-rc.d: read-only file system"'
)
# The engine's own answer without a driver, as NVIDIA/nvidia-docker#1352 and tests/engine have it.
NO_DRIVER = 'could not select device driver "nvidia" with capabilities: [[gpu]]'
# moby's daemon/cdi.go and the CDI library
NO_CDI_DEVICE = "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-8f2c"
# A mount of ours that fails is no business of the toolkit.
OUR_MOUNT = (
    "OCI runtime create failed: runc create failed: unable to start container process: error mounting "
    '"/x" to rootfs at "/inputs": mkdirat /var/lib/docker/overlay2/x/merged/inputs: read-only file system'
)


@pytest.mark.parametrize("text", [LDCACHE, READ_ONLY])
def test_a_hook_that_cannot_write_asks_for_a_writable_root(text):
    assert needs_writable_root(text)


@pytest.mark.parametrize("text", [NO_DRIVER, NO_CDI_DEVICE, OUR_MOUNT, "", "read-only file system", "no such image"])
def test_nothing_else_asks_for_a_writable_root(text):
    assert not needs_writable_root(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NO_DRIVER, "no driver for GPUs"),
        (NO_CDI_DEVICE, "does not know this GPU"),
        ("nvidia-container-cli: device error: GPU-1: unknown device: unknown", "does not know this GPU"),
        (LDCACHE, "toolkit failed"),
    ],
)
def test_a_start_that_failed_is_explained(text, words):
    assert words in (explain_start(text) or "")


@pytest.mark.parametrize("text", [OUR_MOUNT, "No such image: x", "connection refused"])
def test_a_start_that_failed_for_another_reason_is_not(text):
    assert explain_start(text) is None


@pytest.mark.parametrize(
    "line",
    [
        "Failed to initialize NVML: Unknown Error",  # NVIDIA/nvidia-container-toolkit#48, #1227
        "RuntimeError: CUDA error: unspecified launch failure",
        "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered",
        "RuntimeError: CUDA error: device lost",
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: CUDA error: no CUDA-capable device is detected",
        "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable",
        "NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.",
    ],
)
def test_a_lost_gpu_is_recognised_in_the_end_of_a_log(line):
    log = f"step 1\n{line}\nCUDA kernel errors might be asynchronously reported\n"
    assert (fault_in(log) or "").startswith("the GPU was lost: ")


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23 GiB",
        "RuntimeError: CUDA error: out of memory",
    ],
)
def test_a_full_gpu_is_recognised(line):
    assert (fault_in(f"Traceback\n{line}\n") or "").startswith("the GPU ran out of memory: ")


@pytest.mark.parametrize(
    "log",
    [
        "",
        "ValueError: shapes do not match",
        "RuntimeError: CUDA error: device-side assert triggered",  # the pipeline's own mistake
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "loading weights of Xidian/model",
        "Failed to initialize NVML: Unknown Error\n" + "fine\n" * 500,
    ],
)
def test_the_pipelines_own_errors_and_old_lines_are_none(log):
    assert fault_in(log) is None


def test_what_is_quoted_of_a_log_is_short():
    assert len(fault_in("CUDA out of memory " + "x" * 10_000) or "") < 300
