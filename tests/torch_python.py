"""Print an interpreter that has the locked training packages; the host runner's environment is made if need be."""

import os
import sys
from pathlib import Path

from harness.host.packages.venv import host_venv
from harness.host.store import open_store

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    lock, store = ROOT / "lockfiles" / "cpu.lock", open_store(None, os.environ)
    with store.in_use():
        print(host_venv(lock, store, lambda text: print(f"  {text}", file=sys.stderr)))
