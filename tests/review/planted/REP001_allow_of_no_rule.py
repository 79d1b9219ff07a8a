"""Comments that name no rule that there is."""

import json

# harness: allow REP999 the checkpoint is read by another tool  # expect: REP001
SETTINGS = json.loads("{}")
STEPS = 10  # harness: allow because it is the shortest run that shows it  # expect: REP001
