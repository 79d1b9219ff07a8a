"""The checks, each a function from a bench to what it found; one that cannot be made here says why.

A check measures and says what is wrong; it explains nothing, and no check needs that another one succeeded.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.images.recipe import read_recipe
from harness.inputs.fetch import fetch_input
from harness.runs.runtime import Runner
from harness.system import engine, gpu
from harness.system.git import clean_commit
from harness.system.project import read_experiment
from harness.system.sources import RECORDER
from harness.workflow.certify import certify
from harness.workflow.gpu_check.bench import BF16, ESTIMATE, FP16, FULL, MEMORY, Bench
from harness.workflow.probe import probe
from harness.workflow.replay import ReplayRequest, replay
from harness.workflow.results import Result

_NUM_WARM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a check found: what is wrong, or "", and its figures."""

    problem: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


class SkippedError(Exception):
    """This machine has nothing that the check could be made with; the text says what is missing."""


def nvml(_: Bench) -> Found:
    """What the driver says of its cards."""
    found = gpu.inventory()
    rows = [{**row, "used_bytes": one.used_bytes} for row, one in zip(found.to_json(), found.gpus, strict=True)]
    return Found(problem=found.problem, figures={"gpus": rows, "toolkit": gpu.toolkit_version()})


def digests(bench: Bench) -> Found:
    """The recorder's digest on the device, against the golden vectors and against this machine's CPU."""
    vectors = bench.root / "tests" / "golden" / "digests.json"
    if not vectors.is_file():
        raise SkippedError(f"there are no golden vectors: {vectors}")
    answer = json.loads(bench.run(RECORDER / "self_test.py", bench.device, stdin=vectors).splitlines()[-1])
    differing = answer["differing"]
    problem = f"{len(differing)} digests differ, the first {differing[0]}" if differing else ""
    return Found(problem=problem, figures=answer)


def determinism(bench: Bench) -> Found:
    """What each switch costs a step, and whether the steps repeat without it."""
    folder = bench.work / "runs" / "costs"
    experiment, places = (
        read_experiment(bench.work, BF16),
        {"config": folder / "config.json", "inputs": folder / "inputs"},
    )
    places |= {"prepared": folder / "prepared", "output": folder}
    places["inputs"].mkdir(parents=True, exist_ok=True)
    places["config"].write_text(json.dumps(experiment.config), encoding="utf-8")
    for name, value in experiment.inputs.items():
        fetched = fetch_input(value.named(name), bench.store, bench.work, bench.progress.note)
        (places["inputs"] / name).symlink_to(fetched)
    bench.run(*(part.format_map(places | {"output": places["prepared"]}) for part in (experiment.prepare or ())[1:]))
    options = (part for name, path in places.items() for part in (f"--{name}", path))
    bench.run("pipelines/lora/costs.py", *options)
    document = json.loads((folder / "costs.json").read_text(encoding="utf-8"))
    is_repeatable = document["variants"][0]["is_repeatable"]
    problem = "" if is_repeatable else "the steps do not repeat with the switches as they are declared"
    return Found(problem=problem, figures=document)


def certified(bench: Bench) -> Found:
    """Straight, again, killed with a context on the device, and resumed."""
    return _certified(bench, BF16)


def scaler(bench: Bench) -> Found:
    """The same in fp16, with the scaler's state in the checkpoint."""
    return _certified(bench, FP16)


def memory(bench: Bench) -> Found:
    """The probe's peaks on the device beside its estimate on the CPU, and beside what the training took."""
    request = bench.request(MEMORY)
    measured = probe(request, bench.store, bench.progress)
    without = dataclasses.replace(request, name=ESTIMATE, gpu=None)
    estimated = {one.name: one for one in probe(without, bench.store, bench.progress).variants}
    rows = [
        {
            "name": one.name,
            "measured_bytes": one.peak_allocated_bytes,
            "reserved_bytes": one.peak_reserved_bytes,
            "estimated_bytes": estimated[one.name].peak_allocated_bytes,
        }
        for one in measured.variants
        if one.name in estimated
    ]
    is_measured = measured.device == bench.device and measured.variants[0].is_estimate == (bench.device == "cpu")
    problem = "" if is_measured else f"nothing was measured: {measured.method}"
    taken = _largest(_metrics(bench.latest / "straight"), "vram_allocated_bytes")
    return Found(problem=problem, figures={"variants": rows, "training_bytes": taken})


def replayed(bench: Bench) -> Found:
    """The record of what was certified above, trained again."""
    if not bench.latest.is_dir():
        raise SkippedError("there is no record: nothing was certified")
    wanted = ReplayRequest(running=bench.request(BF16), record=clean_commit(bench.work), experiment=BF16)
    return _judged(replay(wanted, bench.store, bench.progress))


def full(bench: Bench) -> Found:
    """A card without room is told as that, and never as a difference."""
    verdict = certify(bench.request(FULL), bench.store, bench.progress).verdict
    told = [problem for problem in verdict.problems if "ran out of memory" in problem]
    is_told = verdict.verdict == "INCONCLUSIVE" and bool(told)
    problem = "" if is_told else f"{verdict.verdict}: {verdict.summary}"
    return Found(problem=problem, figures={"verdict": verdict.verdict, "problems": list(verdict.problems)})


def container(bench: Bench) -> Found:
    """The same certificate in containers, where an engine runs and has the image."""
    try:
        engine.connect(timeout_s=10).close()
    except HarnessError as error:
        raise SkippedError(error.problem) from error
    image = read_experiment(bench.work, BF16).image
    if bench.store.read_record("images", read_recipe(bench.work, image).key) is None:
        raise SkippedError(f"the image is not built: `harness build {image}`, then again")
    return _certified(bench, BF16, "docker")


# The estimate of `memory` is the slowest, on a machine of few cores; a container may need an image first.
CHECKS: Mapping[str, Callable[[Bench], Found]] = {
    "nvml": nvml,
    "digests": digests,
    "certified": certified,
    "determinism": determinism,
    "scaler": scaler,
    "replayed": replayed,
    "full": full,
    "memory": memory,
    "container": container,
}


def _certified(bench: Bench, name: str, runner: Runner = "host") -> Found:
    before = {one.uuid: one.used_bytes for one in gpu.inventory().gpus}
    found = _judged(certify(bench.request(name, runner), bench.store, bench.progress))
    left = {one.uuid: one.used_bytes - before[one.uuid] for one in gpu.inventory().gpus if one.uuid in before}
    return Found(problem=found.problem, figures={**found.figures, "left_in_use_bytes": left})


def _judged(result: Result) -> Found:
    """A verdict in a few figures, with what recording and the trackers saw of the straight run."""
    verdict = result.verdict
    kills = [
        {"kind": one.kind, "step": one.step, "signal": one.signal, "landed": one.landed}
        for one in verdict.interruptions
    ]
    figures: dict[str, Any] = {
        "verdict": verdict.verdict,
        "checks": {name: check.verdict for name, check in verdict.checks.items()},
        "compared": verdict.compared.to_json(),
        "kills": kills,
        **_steps(result.folder / "straight"),
    }
    if verdict.verdict == "CERTIFIED":
        return Found(figures=figures)
    return Found(
        problem=f"{verdict.verdict}: {verdict.summary}", figures={**figures, "problems": list(verdict.problems)}
    )


def _steps(straight: Path) -> dict[str, Any]:
    """Medians over the straight run's steps, and what the pipeline's own metrics say of the device."""
    steps = _lines(straight / "runs" / "1" / "progress.jsonl")[_NUM_WARM:]
    metrics = _metrics(straight)
    ledger = _lines(straight / "runs" / "1" / "ledger.jsonl")
    return {
        "num_steps": len(metrics),
        "num_skipped": sum(bool(one.get("skipped")) for one in ledger),
        "step_s": statistics.median(one["seconds"] for one in steps) if steps else None,
        "recorder_s": statistics.median(one["recorder_seconds"] for one in steps) if steps else None,
        "max_gpu_percent": _largest(metrics, "gpu_percent"),
        "max_vram_bytes": _largest(metrics, "vram_bytes"),
    }


def _largest(rows: list[dict[str, Any]], key: str) -> float | None:
    return max((row[key] for row in rows if row.get(key) is not None), default=None)


def _metrics(straight: Path) -> list[dict[str, Any]]:
    return [one for one in _lines(straight / "output" / "metrics.jsonl") if one["kind"] == "step"]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
