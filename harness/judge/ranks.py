"""Ranks: the processes of a distributed training, each with a ledger of its own, compared rank by rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence


def of_rank(trajectory: TrajectoryEvidence, rank: int) -> TrajectoryEvidence:
    """A trajectory as one rank recorded it; where a run has no such rank, that run without evidence."""
    runs = tuple(
        run.of_rank(rank) or RunEvidence(record=run.record, ledger=None, rank=rank, problem=f"there is no rank {rank}")
        for run in trajectory.runs
    )
    return replace(trajectory, runs=runs)


def num_ranks(run: RunEvidence) -> int:
    """How many processes trained together, as the recorder was told."""
    told = [event.fields.get("num_ranks") for event in run.events if event.kind == "process"]
    return max([len(run.ranks) + 1, *(number for number in told if type(number) is int)])


def is_sharded(trajectory: TrajectoryEvidence) -> bool:
    """Whether each rank holds a part of the tensors, so that no ledger has the digest of a whole one."""
    return any(e.fields.get("is_sharded") is True for run in trajectory.runs for e in run.events if e.kind == "ranks")


def rank_problems(run: RunEvidence) -> Iterator[str]:
    """Ranks that are missing, or that do not go on after the same step as rank 0."""
    if run.ledger is None:
        return
    there = {one.rank for one in (run, *run.ranks)}
    missing = [rank for rank in range(min(num_ranks(run), 1 << 12)) if rank not in there]
    if missing:
        names = ", ".join(str(rank) for rank in missing[:8])
        yield f"{run.name}: rank {names} of {num_ranks(run)} left no ledger: nothing that it did is known"
    for one in run.ranks:
        if one.ledger is not None and one.ledger.start.step != run.ledger.start.step:
            yield (
                f"{one.name} goes on after step {one.ledger.start.step}, rank 0 after step {run.ledger.start.step}: "
                "let every rank load the same checkpoint"
            )


def replicas_apart(run: RunEvidence) -> Iterator[str]:
    """Where DistributedDataParallel was to keep the parameters of all ranks equal, and they are not."""
    if run.ledger is None:
        return
    first = {record.step: record.streams.get("param") for record in run.ledger.steps}
    for one in run.ranks:
        if one.ledger is None or not any(
            e.kind == "ranks" and e.fields.get("is_replicated") is True for e in one.events
        ):
            continue
        apart = [r.step for r in one.ledger.steps if r.step in first and r.streams.get("param") != first[r.step]]
        if apart:
            yield (
                f"whether the replicated parameters of rank {one.rank} are meant to differ from those of rank 0, as "
                f"they do from step {apart[0]} of {run.name} on: a checkpoint of one rank does not hold both"
            )
