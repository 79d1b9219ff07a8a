"""Print an interpreter that has the locked training packages; the host runner's environment is made if need be."""

import os
import sys

from harness.packages.venv import host_venv
from harness.system.store import open_store
from tests import ROOT

if __name__ == "__main__":
    lock, store = ROOT / "lockfiles" / "cpu.lock", open_store(None, os.environ)
    with store.in_use():
        print(host_venv(lock, store, lambda text: print(f"  {text}", file=sys.stderr)))
