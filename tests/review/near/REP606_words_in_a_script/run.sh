#!/bin/bash
set -e
if ! python -c "import torch"; then
    echo "torch is missing: pip install torch" >&2
    cat <<'EOF'
First:
  pip install -r requirements.txt
  pip install flash-attn
EOF
    exit 1
fi
# pip install wandb
exec python main.py "$@"
