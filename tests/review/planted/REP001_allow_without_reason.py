"""A comment that wants to allow something and does not say why."""

import time

# expect: REP001
started = time.monotonic()  # harness: allow REP601
# expect: REP001
ended = time.monotonic()  # harness: allow REP602 ok
