"""A replay's verdict that looks like a real one: test data, nothing was trained for it."""

from __future__ import annotations

import copy
from typing import Any

from tests.made import report_data as data

CERTIFIED: dict[str, Any] = copy.deepcopy(data.CERTIFIED) | {
    "kind": "replay",
    "summary": "tiny gives the archived bits when it is run again from commit 1a2b3c4, also on another machine.",
    "checks": {
        "replay": data.check(how="one straight run of the archived code, against the archived ledger"),
        "rebuild": data.check(how="the image built from the archived locks", image_ids=[data.DIGEST, data.DIGEST]),
        "rerun": data.check("NOT_CHECKED", required=False, compared={}),
        "resume": data.check("NOT_CHECKED", required=False, compared={}),
    },
    "interruptions": [],
    "restored": [],
    "replay": {
        "record": {
            "run_id": "20261023T052000Z-1a2b3c4-beef",
            "experiment": "tiny",
            "commit": "1a2b3c4d5e6f70819203a4b5c6d7e8f901234567",
            "verdict": "CERTIFIED",
            "finished": "2026-10-23T05:24:12+00:00",
            "source": "manifests/tiny/20261023T052000Z-1a2b3c4-beef",
            "key": "release (3f9a1c773f9a1c77)",
        },
        "against": None,
        "code_changes": [],
        "tier": "same model",
        "tier_detail": ["the machine is another one", "the processor is the same model: Intel Xeon Processor"],
        "environment": [
            {"path": "host.kernel", "archived": "6.1.0", "today": "6.18.44"},
            {"path": "host.memory_bytes", "archived": "25200000000", "today": None},
        ],
        "image": {"archived": data.DIGEST, "today": data.DIGEST, "equal": True},
        "preflight": [
            *(
                {"kind": "wheel", "name": f"package-{n}==1.{n}", "state": "present", "detail": "cached", "remedy": ""}
                for n in range(73)
            ),
            {"kind": "wheel", "name": "torch==2.13.0", "state": "fetchable", "detail": "180 MiB", "remedy": ""},
        ],
    },
}

DIVERGED: dict[str, Any] = copy.deepcopy(CERTIFIED) | {
    "verdict": "DIVERGED",
    "exit_code": 1,
    "summary": "The code of commit 9f8e7d6 does not give the archived bits of tiny: loss differs from step 7 on.",
    "first_divergence": {
        "check": "replay",
        "trajectory": "straight",
        "run": 1,
        "step": 7,
        "micro_batch": None,
        "stream": "loss",
        "tensor": None,
        "left": data.DIGEST,
        "right": data.DIGEST.replace("3f", "b0"),
    },
    "streams_that_differ": [{"stream": "loss", "first_step": 7, "num_steps": 18}],
    "final_state_equal": False,
}
DIVERGED["checks"]["replay"] |= {"verdict": "DIVERGED", "reason": "loss differs at step 7"}
DIVERGED["replay"]["against"] = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432"
DIVERGED["replay"]["preflight"][3] |= {
    "state": "gone",
    "detail": "no index has this wheel any more",
    "remedy": "take a full archive: harness archive --full",
}
