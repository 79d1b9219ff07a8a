"""Faults on purpose: end this process at an exact point, inside a write at an exact byte, or flip one bit.

Inside a write: a file-size limit makes the kernel stop the write at that byte and send SIGXFSZ to the writing thread;
a handler in C kills the process from there, so nothing of the pipeline (no `except`, no destructor that would remove a
temporary file) runs any more.
"""

import json
import os
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OF_DIAGNOSES = frozenset(
    "operators keep_state give_rng give_lr give_optim give_param give_buffer set_deterministic set_one_thread".split()
)
KINDS = OF_DIAGNOSES | frozenset(
    [
        "micro_batch",
        "before_step",
        "after_step",
        "before_write",
        "in_write",
        "after_write",
        "flip_param",
        "flip_optim",
        "signal",
        "stop",
    ]
)
WAIT_S = 120
EXIT_NOT_KILLED = 86
MANTISSA_BITS = {"float64": 52, "float32": 23, "bfloat16": 7, "float16": 10}


def parse(text: str) -> list[dict]:
    """Return the faults of `HARNESS_FAULTS`. Raises ValueError for anything but a list of known faults."""
    faults = json.loads(text)
    if not isinstance(faults, list):
        raise ValueError("HARNESS_FAULTS is not a list")
    for fault in faults:
        if not isinstance(fault, dict) or fault.get("kind") not in KINDS:
            raise ValueError(f"HARNESS_FAULTS: not a fault: {fault!r}")
        if type(fault.get("step")) is not int and fault["kind"] != "flip_optim":
            raise ValueError(f"HARNESS_FAULTS: no step: {fault!r}")
        if fault["kind"] == "in_write" and type(fault.get("byte")) is not int:
            raise ValueError(f"HARNESS_FAULTS: no byte: {fault!r}")
        if fault["kind"] == "signal" and fault.get("signal") not in signal.Signals.__members__:
            raise ValueError(f"HARNESS_FAULTS: no signal: {fault!r}")
        if fault["kind"] == "micro_batch" and type(fault.get("micro_batch")) is not int:
            raise ValueError(f"HARNESS_FAULTS: no micro_batch: {fault!r}")
        if type(fault.get("rank", 0)) is not int:
            raise ValueError(f"HARNESS_FAULTS: no rank: {fault!r}")
    return faults


def due(faults: list[dict], run_dir: str) -> list[dict]:
    """Return the faults without the signals that a process of this run was sent already.

    One that was told to end may have started the training again, in its own place or as a child.
    """
    if all(fault["kind"] != "signal" for fault in faults):
        return faults
    sent = any('"fault":{"' in line and '"kind":"signal"' in line for line in _events(run_dir))
    return [fault for fault in faults if fault["kind"] != "signal" or not sent]


def _events(run_dir: str) -> Iterator[str]:
    for path in sorted(Path(run_dir).glob("events*.jsonl")):
        yield from path.read_text("utf-8", "replace").splitlines()


def die(fault: dict, report: Callable[..., None]) -> None:
    """Report the fault and end this process, or wait to be ended from outside. Never returns."""
    is_waiting = fault.get("by") == "outside"
    report("fault", fault=fault, waiting=is_waiting)
    if not is_waiting:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(WAIT_S)
    os._exit(EXIT_NOT_KILLED)


def send(fault: dict, report: Callable[..., None]) -> None:
    """Report the fault and send this process its signal: what becomes of it is the training's own doing.

    `handled` says whether anything answers the signal; without it the process ends here.
    """
    number = signal.Signals[fault["signal"]]
    report("fault", {"fault": fault, "waiting": False, "handled": signal.getsignal(number) is not signal.SIG_DFL})
    os.kill(os.getpid(), number)


class Target:
    """Where a checkpoint is written to: a path, or an open Python file with one."""

    def __init__(self, destination: Any) -> None:
        self.file = None if isinstance(destination, str | bytes | os.PathLike) else destination
        self.path = ""  # of a regular file; memory has none
        if self.file is None:
            self.path = os.path.abspath(os.fsdecode(destination))
        else:
            try:
                descriptor = self.file.fileno()
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    self.path = os.readlink(f"/proc/self/fd/{descriptor}")
            except (AttributeError, OSError, TypeError, ValueError):
                pass  # memory, not a file: nothing of it survives a kill anyway

    def tear_to_half(self) -> None:
        """Cut what was written to half of it: for a file that ends before the byte at which it should tear."""
        if self.file is not None:
            self.file.flush()
        if self.path and os.path.exists(self.path):
            os.truncate(self.path, os.path.getsize(self.path) // 2)


def die_in_write(
    fault: dict, write: Callable[[], Any], target: Target, serialized: bytes | None, report: Callable[..., None]
) -> None:
    """Run `write` so that it ends with this process after `fault["byte"]` bytes of the file. Never returns.

    Args:
        fault: the fault.
        write: the real write.
        target: what it writes.
        serialized: the content, if it is known beforehand. safetensors reserves the file's whole length before its
            first byte, so the limit stops it at byte 0; the bytes that would have come are then written here.
        report: writes an event.
    """
    import ctypes  # only here: it is not worth its time in a process without faults

    byte = fault["byte"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def end(_signal: int = 0) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if serialized is not None:
            _fill(Path(target.path).parent, serialized[:byte])
        die(fault, report)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    libc.signal(int(signal.SIGXFSZ), ctypes.cast(handler, ctypes.c_void_p))
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte if hard == resource.RLIM_INFINITY else min(byte, hard), hard))
    try:
        write()
        if target.file is not None:
            target.file.flush()  # bytes waiting in user space may be the ones that cross the limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        target.tear_to_half()
        die(fault, report)


def _fill(folder: Path, content: bytes) -> None:
    """Write `content` to the empty files that this process holds open in `folder`."""
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.parent == folder and os.fstat(int(descriptor)).st_size == 0:
                os.pwrite(int(descriptor), content, 0)
        except OSError:
            continue


def flip_bit(torch: Any, tensor: Any, is_moment: bool) -> None:
    """Flip one bit of a tensor in place: of a moment the highest mantissa bit of its largest element, so that no sum
    rounds it away; else the lowest bit of the first element.
    """
    with torch.no_grad():
        # `data` has a version counter of its own: a graph that still waits for its backward does not see the change
        words = tensor.data.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize])
        position, mask = (0,) * tensor.dim(), 1
        if is_moment:
            size = tensor.detach().abs().nan_to_num(0.0, 0.0, 0.0)
            position = tuple((size == size.max()).nonzero()[0].tolist())
            mask = 1 << (MANTISSA_BITS[str(tensor.dtype).removeprefix("torch.")] - 1)
        element = words[position]
        element.bitwise_xor_(mask)
