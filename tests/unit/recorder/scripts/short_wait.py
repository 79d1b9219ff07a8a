"""Run the script in the arguments with a recorder that waits a second only for the kill from outside."""

import runpy
import sys

sys.modules["_harness_recorder.faults"].WAIT_S = 1
sys.argv = sys.argv[1:]
sys.path[0] = ""
runpy.run_path(sys.argv[0], run_name="__main__")
