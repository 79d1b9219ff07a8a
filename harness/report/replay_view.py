"""A replay in the words of a report: what its verdict says beyond that of a certify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from harness.documents.preflight import STATES
from harness.documents.verdict import (
    Replay,
)
from harness.report.tables import Facts, Kind, State, Table, Tone, listed, named, table
from harness.report.text import line, moment, safe, short

_NEEDS: Mapping[str, Tone] = {"gone": "bad", "unknown": "unsure", "fetchable": "none", "present": "good"}


_TIERS = {
    "same machine": "on the same machine",
    "same model": "on another machine with the same model of processor",
    "same architecture": "on another model of the same architecture",
    "other": "on other hardware",
}


class ReplayView:
    """What a replay's verdict says beyond that of a certify: the record, the hardware, what changed, the preflight."""

    def __init__(self, replay: Replay, *, max_rows: int, max_chars: int) -> None:
        needs = sorted(replay.preflight, key=lambda one: (STATES.index(one.state), one.kind, one.name))
        self._full = replay.model_copy(update={"preflight": tuple(needs)})
        self.replay = safe(self._full, max_rows=max_rows, max_chars=max_chars)

    @property
    def tier(self) -> str:
        """The hardware, compared with the record's."""
        return _TIERS.get(self.replay.tier, f"on hardware of the kind {line(self.replay.tier)}")

    @property
    def facts(self) -> Facts:
        """What was replayed."""
        replay, record, image = self.replay, self.replay.record, self.replay.image
        same = "the same id" if image.equal else "another id"
        return named(
            [
                ("archived run", record.run_id),
                ("experiment", record.experiment),
                ("archived commit", record.commit),
                ("archived verdict", record.verdict),
                ("archived on", moment(record.finished)),
                ("taken from", record.source),
                ("signed by", record.key or ""),
                ("against commit", replay.against or ""),
                ("hardware", replay.tier),
                ("image", f"{same}: {short(image.archived) or 'none'} then, {short(image.today) or 'none'} today"),
            ]
        )

    @property
    def where(self) -> str:
        """Where it was run again, compared with where the record was made."""
        return f"Replayed {self.tier}"

    @property
    def code_changes(self) -> tuple[str, ...]:
        """What differs of the code."""
        return listed(self.replay.code_changes, self._full.code_changes)

    @property
    def environment(self) -> Table:
        """What differs of the environment."""
        rows = [(line(one.path), one.archived or "absent", one.today or "absent") for one in self.replay.environment]
        columns: dict[str, Kind] = {"What": "code", "Archived": "long", "Today": "long"}
        return table("What differs of the environment", columns, rows, of=self._full.environment)

    @property
    def preflight(self) -> str:
        """`1 gone, 2 fetchable, 74 present`; empty where nothing was asked for."""
        counts = Counter[str](one.state for one in self._full.preflight)
        return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])

    def needs(self, *states: str) -> Table:
        """What a replay needs and is in one of these states."""
        rows = [
            (line(one.kind), line(one.name), State(one.state, _NEEDS[one.state]), line(one.detail), line(one.remedy))
            for one in self.replay.preflight
            if one.state in states
        ]
        every = [one for one in self._full.preflight if one.state in states]
        columns: dict[str, Kind] = {"Kind": "text", "Name": "code", "State": "text", "Detail": "long", "Remedy": "long"}
        return table("", columns, rows, of=every)
