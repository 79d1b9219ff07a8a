import os
import sys

import _harness_recorder  # expect: REP901

os.environ.pop("HARNESS_RUN_DIR", None)  # expect: REP901
faults = os.getenv("HARNESS_FAULTS")  # expect: REP901
print(sys.modules.get("_harness_recorder.ledger"), _harness_recorder, faults)
