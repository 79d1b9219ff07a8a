"""Nothing here touches _harness_recorder or HARNESS_RUN_DIR."""

import os

record = {"commit": os.environ.get("HARNESS_COMMIT") or None, "harness_version": "HARNESS 2"}
print(record)  # what _harness_recorder writes is not ours
