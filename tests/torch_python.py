"""Print an interpreter that has the locked training packages; the host runner's environment is made if need be."""

import os
import sys
from pathlib import Path

from harness.host.store import open_store
from harness.host.wheels import host_venv

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    lock = ROOT / "lockfiles" / "cpu.lock"
    print(host_venv(lock, open_store(None, os.environ), lambda text: print(f"  {text}", file=sys.stderr)))
