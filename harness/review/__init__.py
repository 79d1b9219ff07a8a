"""The rules that can veto a run, and the reader of source trees. Knows nothing of runs.

The room can be called: `harness.review(path)` is `harness.api.review`.
"""

import sys

from harness import api

api.make_callable(sys.modules[__name__], api.review)
