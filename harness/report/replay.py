"""What a replay's verdict has beyond a certify's: the record, the tier, the environment then and now, the preflight."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.report.fields import flag, integer, line, moment, rows, short, table, text, texts

STATES = ("gone", "unknown", "fetchable", "present")
TONES = {"gone": "bad", "unknown": "unsure", "fetchable": "none", "present": "good"}
_COUNTS = "preflight_counts"
_TIERS = {
    "same machine": "on the same machine",
    "same model": "on another machine with the same model of processor",
    "same architecture": "on another model of the same architecture",
    "other": "on other hardware",
}


def condensed(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict with its preflight sorted, what is gone first, and counted, before a presenter cuts the list."""
    replay = table(verdict.get("replay"))
    found = rows(replay.get("preflight"))
    if not found:
        return verdict
    found.sort(key=lambda row: (STATES.index(_state(row)), line(row.get("kind")), line(row.get("name"))))
    counts = Counter(_state(row) for row in found)
    return {**verdict, "replay": {**replay, "preflight": found, _COUNTS: dict(counts)}}


def replay_section(verdict: dict[str, Any]) -> dict[str, Any] | None:
    """Everything that a page shows of a replay, as texts; None for the verdict of a certify."""
    replay = table(verdict.get("replay"))
    if not replay:
        return None
    return {
        "facts": facts(verdict),
        "tier": tier_sentence(verdict),
        "tier_detail": texts(replay.get("tier_detail")),
        "code_changes": texts(replay.get("code_changes")),
        "environment": environment_rows(verdict),
        "preflight_sentence": preflight_sentence(verdict),
        "was_trained": bool(integer(table(verdict, "checks", "replay", "compared").get("steps"))),
        "missing": [row for row in preflight_rows(verdict) if row["state"] != "present"],
        "present": [row for row in preflight_rows(verdict) if row["state"] == "present"],
    }


def facts(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    """What was replayed, as (label, value), without what is absent."""
    replay = table(verdict.get("replay"))
    record, image = table(replay.get("record")), table(replay.get("image"))
    equal = {True: "the same id", False: "another id", None: ""}[flag(image, "equal")]
    ids = [short(image.get(key)) for key in ("archived", "today")]
    shown = [
        ("archived run", record.get("run_id")),
        ("experiment", record.get("experiment")),
        ("archived commit", record.get("commit")),
        ("archived verdict", record.get("verdict")),
        ("archived on", moment(record.get("finished"))),
        ("taken from", record.get("source")),
        ("signed by", record.get("key")),
        ("against commit", replay.get("against")),
        ("tier", replay.get("tier")),
        ("image", f"{equal}: {ids[0]} then, {ids[1]} today" if equal else ""),
    ]
    return [(label, line(value)) for label, value in shown if line(value)]


def tier_sentence(verdict: dict[str, Any]) -> str:
    """Where it was run again, compared with where the record was made; empty if the verdict does not say."""
    tier = line(table(verdict.get("replay")).get("tier"))
    return f"Replayed {_TIERS.get(tier, f'at the tier {tier}')}" if tier else ""


def environment_rows(verdict: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What differs of the environment: (path, then, today)."""
    found = rows(table(verdict.get("replay")).get("environment"))
    return [
        (line(row.get("path")) or "?", text(row.get("archived")) or "absent", text(row.get("today")) or "absent")
        for row in found
    ]


def preflight_sentence(verdict: dict[str, Any]) -> str:
    """`1 gone, 2 fetchable, 74 present`; empty without a preflight."""
    replay = table(verdict.get("replay"))
    counts = table(replay.get(_COUNTS)) or Counter(_state(row) for row in rows(replay.get("preflight")))
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts.get(state))


def preflight_rows(verdict: dict[str, Any]) -> list[dict[str, str]]:
    """One row for everything that a replay needs, what is gone first."""
    found = []
    for row in rows(table(verdict.get("replay")).get("preflight")):
        state = _state(row)
        found.append(
            {
                "kind": line(row.get("kind")),
                "name": line(row.get("name")) or "?",
                "state": state,
                "tone": TONES[state],
                "detail": line(row.get("detail")),
                "remedy": line(row.get("remedy")),
            }
        )
    return found


def _state(row: dict[str, Any]) -> str:
    state = line(row.get("state"))
    return state if state in STATES else "unknown"
