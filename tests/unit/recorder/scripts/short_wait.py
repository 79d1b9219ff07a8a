"""Train the complete loop with a recorder that waits a second only for the kill from outside."""

import runpy
import sys
from pathlib import Path

sys.modules["_harness_recorder.faults"].WAIT_S = 1
runpy.run_path(str(Path(__file__).with_name("complete_loop.py")), run_name="__main__")
