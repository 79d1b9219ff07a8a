"""The certificate: an in-toto statement of what was shown about the outputs of one experiment.

One statement, canonical JSON (RFC 8785). Its subjects are the declared outputs and the commit; its predicate is this
program's own. Claims are made only where the verdict is CERTIFIED; for any other verdict the statement says so in
`result` and makes none. Sources: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, RFC 8785.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import rfc8785

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:repro-harness:training-reproducibility:v1"
RESULTS = {"CERTIFIED": "PASSED", "DIVERGED": "FAILED", "INCONCLUSIVE": "INCONCLUSIVE", "VETOED": "VETOED"}
CLAIMS = {
    "rerun": "BITWISE_EQUAL_RERUN",
    "resume": "BITWISE_EQUAL_RESUME",
    "rebuild": "IDENTICAL_IMAGE_REBUILD",
    "replay": "BITWISE_EQUAL_REPLAY",
}
_MAX_INTEGER = (1 << 53) - 1


def build_certificate(
    *, verdict: Mapping[str, Any], manifest: Mapping[str, Any], digests: Mapping[str, str], finished: datetime
) -> bytes:
    """The statement's canonical bytes.

    Args:
        verdict: `verdict.json`.
        manifest: `manifest.json`; image, environment and the outputs' sha256 are taken from it.
        digests: `sha256:<hex>` of the documents beside it, by name.
        finished: when the verdict was reached, with its time zone.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(verdict, manifest),
        "predicateType": PREDICATE_TYPE,
        "predicate": _predicate(verdict, manifest, digests, finished),
    }
    return rfc8785.dumps(_plain(statement))


def _subjects(verdict: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outputs by the sha256 of their bytes and of their content, and the commit they come from."""
    straight = manifest.get("trajectories", {}).get("straight", {}).get("files", {})
    subjects = []
    for file in verdict["files"]:
        if file["role"] != "output":
            continue
        recorded = straight.get(file["path"]) or {}
        digest = {"sha256": _hex(recorded.get("sha256")), "contentSha256": _hex(file["content"])}
        known = {algorithm: value for algorithm, value in digest.items() if value}
        if known:
            subjects.append({"name": file["path"], "digest": known})
    commit = {"name": f"commit of {verdict['experiment']}", "digest": {"gitCommit": verdict["commit"]}}
    return [*sorted(subjects, key=lambda subject: subject["name"]), commit]


def _predicate(
    verdict: Mapping[str, Any], manifest: Mapping[str, Any], digests: Mapping[str, str], finished: datetime
) -> dict[str, Any]:
    image = manifest.get("image") or {}
    return {
        "result": RESULTS[verdict["verdict"]],
        "verdict": verdict["verdict"],
        "claims": _claims(verdict),
        "summary": verdict["summary"],
        "experiment": verdict["experiment"],
        "scope": verdict.get("scope"),
        "runId": verdict["run_id"],
        "runner": verdict["runner"],
        "isWorkingTreeDirty": verdict["dirty"],
        "oracles": {name: _oracle(name, check) for name, check in verdict["checks"].items()},
        "interruptions": [_interruption(one) for one in verdict["interruptions"]],
        "compared": _compared(verdict["compared"]),
        "controls": [
            {"name": one["name"], "failedAsItMust": one["detected"], "detail": one["detail"]}
            for one in verdict["control"]["controls"]
        ],
        "review": _review(verdict.get("review")),
        "firstDivergence": _first_divergence(verdict["first_divergence"]),
        "cause": verdict["cause"],
        "image": {"name": image.get("name"), "id": image.get("id"), "locks": image.get("locks") or {}},
        "environment": manifest.get("environment") or {},
        "evidence": [{"name": name, "digest": {"sha256": _hex(digest)}} for name, digest in sorted(digests.items())],
        "problems": verdict["problems"],
        "notChecked": verdict["not_checked"],
        "finishedOn": _rfc3339(finished),
        **({} if verdict.get("replay") is None else {"replay": _replay(verdict["replay"])}),
    }


def _claims(verdict: Mapping[str, Any]) -> list[str]:
    """What was shown, in words for machines; nothing unless everything required was. A prefix has words of its own."""
    if verdict["verdict"] != "CERTIFIED":
        return []
    checks = verdict["checks"]
    shown = [name for name in CLAIMS if name in checks and checks[name]["verdict"] == "CERTIFIED"]
    is_whole = verdict.get("scope") is None
    return [CLAIMS[name] if is_whole or name == "rebuild" else f"{CLAIMS[name]}_OF_PREFIX" for name in shown]


def _review(review: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The state of every item, and every finding that somebody allowed, with the reason; None without a review."""
    if review is None:
        return None
    return {
        "checklist": {row["id"]: row["state"] for row in review["checklist"]},
        "allowed": [
            {key: row[key] for key in ("rule", "name", "severity", "items", "path", "line", "message")}
            | {"reason": row["allowed"]}
            for row in review["allowed"]
        ],
        "numFindings": len(review["findings"]),
        "unread": review["unread"],
    }


def _oracle(name: str, oracle: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: oracle[key] for key in ("verdict", "required", "how", "reason", "bound")}
    more: dict[str, Any] = {"compared": _compared(oracle["compared"])}
    if name == "resume":
        more["resumes"] = [
            {
                "run": resume["run"],
                "startedAfterStep": resume["started_after_step"],
                "checkpointStep": resume["checkpoint_step"],
                "stepSource": resume["step_source"],
            }
            for resume in oracle["resumes"]
        ]
    if name == "rebuild":
        more["imageIds"] = oracle["image_ids"]
    return {**shown, **more}


def _first_divergence(first: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if first is None else {"oracle" if key == "check" else key: value for key, value in first.items()}


def _replay(replay: Mapping[str, Any]) -> dict[str, Any]:
    """Which record was replayed, with whose code, and how much the hardware was the record's."""
    record = replay["record"]
    return {
        "record": {"runId": record["run_id"], **{k: v for k, v in record.items() if k != "run_id"}},
        "against": replay["against"],
        "tier": replay["tier"],
        "tierDetail": replay["tier_detail"],
        "environment": replay["environment"],
        "image": replay["image"],
        "codeChanges": replay["code_changes"],
        "preflight": replay["preflight"],
    }


def _interruption(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": one["kind"],
        "step": one["step"],
        "microBatch": one["micro_batch"],
        "byte": one["byte"],
        "by": one["by"],
        "signal": one["signal"],
        "exitCode": one["exit_code"],
        "hasLanded": one["landed"],
        "resumedAfterStep": one["resumed_after_step"],
    }


def _compared(compared: Mapping[str, Any]) -> dict[str, Any]:
    return {f"num{key.capitalize()}": value for key, value in compared.items()}


def _hex(digest: str | None) -> str | None:
    """The hex digits of `sha256:<hex>`; None for anything else."""
    algorithm, _, digits = (digest or "").partition(":")
    return digits if algorithm == "sha256" and digits else None


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """A value that RFC 8785 can hold: integers beyond 53 bits and numbers that JSON has not as text."""
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
