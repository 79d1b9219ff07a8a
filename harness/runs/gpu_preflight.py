"""The first process with a GPU: started as a training would be, it says which GPUs CUDA sees there."""

from __future__ import annotations

from harness.documents.gpu import HAND_OUT_REMEDY, GpuRequest
from harness.errors import HostError
from harness.runs.sandbox import Mount, ProcessSpec, Sandbox
from harness.system.gpu import NO_DRIVER
from harness.system.held import temporary_folder

_PROBE_TIMEOUT_S = 120
# What CUDA itself sees in a process: one UUID a line, by the driver's own library, without torch.
_SEEN = """
import ctypes, uuid
cuda = ctypes.CDLL("libcuda.so.1")
code = cuda.cuInit(0)
count = ctypes.c_int(0)
code = code or cuda.cuDeviceGetCount(ctypes.byref(count))
print("cuInit", code, flush=True)
for index in range(count.value):
    device, raw = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
    if cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceGetUuid_v2(raw, device):
        raise SystemExit("the driver names no UUID")
    print("device", uuid.UUID(bytes=bytes(raw)), flush=True)
"""


def check_seen(sandbox: Sandbox, request: GpuRequest) -> str | None:
    """Start one short process as a training would be, and have CUDA count its GPUs there.

    Returns:
        What had to be given up for it to start, or None.

    Raises:
        HostError: it does not start, or it sees other GPUs than those that were asked for.
    """
    with temporary_folder() as folder:
        folder.chmod(0o755)
        spec = ProcessSpec(
            name="preflight/gpu/1",
            argv=("python", "-c", _SEEN),
            mounts={"code": Mount(source=folder, target="/code")},
            environment={},
            memory_bytes=4 << 30,
            timeout_s=_PROBE_TIMEOUT_S,
            log=folder / "log.txt",
        )
        outcome = sandbox.execute(spec, lambda: False)
        log = spec.log.read_text(errors="replace")[-2000:] if spec.log.exists() else ""
    if outcome.error is not None:
        raise HostError(f"a process with a GPU does not start: {outcome.error}", HAND_OUT_REMEDY)
    seen = [line.removeprefix("device ") for line in log.splitlines() if line.startswith("device ")]
    asked = [uuid.partition("-")[2].lower() for uuid in request.uuids]
    is_mig = any(uuid.startswith("MIG-") for uuid in request.uuids)
    if outcome.exit_code == 0 and (sorted(seen) == sorted(asked) or (is_mig and len(seen) == len(asked))):
        fallback = outcome.settings.get("fallback")
        return str(fallback) if fallback else None
    shown = ", ".join(f"GPU-{uuid}" for uuid in seen) or "none"
    last = (log.strip().splitlines() or [f"exit code {outcome.exit_code}"])[-1][:300]
    problem = f"a process that was given {', '.join(request.uuids)} sees {shown} ({last})"
    raise HostError(problem, HAND_OUT_REMEDY if sandbox.kind == "docker" else NO_DRIVER)
