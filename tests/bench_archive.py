"""What it costs to read an archive: `make bench-archive`, beside `sha256sum` of the same file in the same minute.

ARCHIVE names the file; without it a full archive of the latest run of EXP (`tiny` unless the environment says
otherwise) is written to a temporary folder, signed by a key that is made for it. Each side is a whole process, Python's
start included; they alternate, with the file in the page cache, and the medians of ROUNDS (3) are given, with the
largest peak memory. `read`: form and every digest, which all else stands on. `verify`: `harness verify`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.report.printer import text_table
from tests import ROOT

NUM_ROUNDS = int(os.environ.get("ROUNDS", "3"))
EXPERIMENT = os.environ.get("EXP") or "tiny"
READ = """
import sys
from pathlib import Path
from harness.archive.reading import open_archive
with open_archive(Path(sys.argv[1]), lambda text: None) as archive:
    assert archive.files.digests
"""


def run(*command, environment=None):
    """Seconds of one process and its peak memory in bytes."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"error: {' '.join(command)} failed")
    process.returncode = 0
    return seconds, usage.ru_maxrss * 1024


def write_archive(folder):
    """A full archive, by the command that people use."""
    environment = {"XDG_CONFIG_HOME": str(folder / "config")}
    harness = (sys.executable, "-m", "harness")
    target = folder / "full.oci.tar"
    run(*harness, "key", "create", "bench", environment=environment)
    seconds, _ = run(*harness, "archive", EXPERIMENT, "--full", "--output", str(target), environment=environment)
    print(f"written in {seconds:.1f} s", file=sys.stderr)
    return target


def main():
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(os.environ.get("ARCHIVE") or write_archive(Path(scratch))).resolve()
        size = path.stat().st_size
        sides = {
            "sha256sum": ("sha256sum", str(path)),
            "read": (sys.executable, "-c", READ, str(path)),
            "verify": (sys.executable, "-m", "harness", "verify", str(path)),
        }
        run(*sides["sha256sum"])
        measured = {name: [] for name in sides}
        for _ in range(NUM_ROUNDS):
            for name, command in sides.items():
                measured[name].append(run(*command))
        medians = {name: statistics.median(seconds for seconds, _ in found) for name, found in measured.items()}
        rows = [
            (
                name,
                f"{medians[name]:.2f}",
                f"{size / medians[name] / 1e6:.0f}",
                f"{medians['sha256sum'] / medians[name]:.2f}",
                f"{max(memory for _, memory in found) / 1e6:.0f}",
            )
            for name, found in measured.items()
        ]
        print(f"{path.name}, {size / 1e6:.0f} MB, medians of {NUM_ROUNDS}")
        print(text_table(rows, ("side", "s", "MB/s", "speed / sha256sum", "peak MB")))


if __name__ == "__main__":
    main()
