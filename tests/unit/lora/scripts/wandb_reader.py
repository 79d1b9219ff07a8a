"""Offline runs as wandb's own reader (`wandb leet inspect`, which is a command of its service) finds them."""

import json
import subprocess
from pathlib import Path


def core():
    from wandb.util import get_core_path

    return get_core_path()


def records(path):
    """All records of a `.wandb` file, as far as it goes."""
    command = [core(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def histories(output):
    """For each offline run below `output`, in the order in which they were made: id, configuration, rows, files."""
    runs = []
    for path in sorted(output.rglob("*.wandb"), key=lambda path: int(path.relative_to(output).parts[2])):
        found = records(path)
        run = next((record["run"] for record in found if record["type"] == "run"), {})
        rows = [record["history"]["item"] for record in found if record["type"] == "history"]
        runs.append(
            {
                "path": str(path.relative_to(output)),
                "id": run.get("run_id"),
                "config": run.get("config", {}).get("update"),
                "rows": [{k: v for k, v in row.items() if k not in ("_runtime", "_timestamp")} for row in rows],
                "ended": any(record["type"] == "exit" for record in found),
                "files": [record["files"] for record in found if record["type"] == "files"],
            }
        )
    return runs


def status(pid):
    """State and parent of a process, or None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def is_alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    found = status(pid)
    return found is not None and found[0] not in "ZX"


def service_of(pid):
    """Process ids of the wandb services whose parent is `pid`."""
    children = [int(path.name) for path in Path("/proc").glob("[0-9]*") if (status(path.name) or "x0")[1] == pid]
    return [child for child in children if b"wandb-core" in Path(f"/proc/{child}/cmdline").read_bytes()]
