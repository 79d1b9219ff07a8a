#!/usr/bin/env bash
set -euo pipefail
python3 -m venv .venv
if [ -z "${OFFLINE:-}" ]; then
    .venv/bin/pip install -U accelerate bitsandbytes==0.43.1  # expect: REP606 possible
fi
