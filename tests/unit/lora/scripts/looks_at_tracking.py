"""Look at the parts of tracking one by one; print what was seen as JSON. Usage: looks_at_tracking.py PIPELINE"""

import json
import sys
import time

sys.path.insert(0, sys.argv[1])

from config import parse_config
from trackers import flat, run_id, scalars, texts
from tracking import VOLATILE, memory
from utilisation import Utilisation

DOCUMENT = json.load(sys.stdin)
STEP = {
    "loss": 0.5,
    "grad_norm": None,
    "skipped": True,
    "tokens": 3,
    "rss_bytes": 7,
    "cpu_percent": 99.0,
    "vram_allocated_bytes": 8,
    "note": "text",
}


def names():
    return {
        "step": scalars("step", STEP),
        "epoch": scalars("epoch", {"loss": 1, "validation_loss": 2.0, "gpu_percent": 3.0, "best_loss": None}),
        "validation": scalars("validation", {"validation_loss": 4.0}),
        "texts": texts("checkpoint", {"paths": ["a", "b"], "none": [], "numbers": [1], "why": "c", "size": 3}),
    }


def busy():
    """Readings after 0.3 s of sleep, and after 0.3 s of work."""
    load = Utilisation("cpu")
    time.sleep(0.3)
    idle = load.read()
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    worked = load.read()
    return {"idle": idle, "worked": worked, "mean": load.mean(), "nothing since": load.mean()}


def without_a_gpu():
    return Utilisation("cuda").read()


def ids():
    changed = {**DOCUMENT, "training": {**DOCUMENT["training"], "epochs": 3}}
    others = (DOCUMENT, DOCUMENT, {**DOCUMENT, "seed": 6}, changed, {**DOCUMENT, "experiment": "a b:c" + 200 * "x"})
    return [run_id(parse_config(document)) for document in others]


if __name__ == "__main__":
    seen = {look.__name__: look() for look in (names, busy, without_a_gpu, ids)}
    seen["memory"], seen["volatile"] = memory("cpu"), VOLATILE
    seen["flat"] = flat({"a": {"b": [1, 2], "c": None, "d": True}, "e": "f"})
    print(json.dumps(seen))
