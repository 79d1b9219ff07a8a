"""What a run logged and recorded: T6, T7, E1 to E5, V3, K1 to K5, from the files that it left below its output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from harness.review.evidence.basis import Evidence
from harness.review.evidence.run_files import Logged, RunFile, contains_config, gather, leaves
from harness.review.evidence.state_rules import EPOCH_NAME
from harness.review.finding import Item, Said, finding, measured, undecided

_VALIDATION = re.compile(r"(^|[^a-z])(val|valid|validation|eval|test)([^a-z]|$)")
_LOSS = re.compile(r"loss|perplexity")
_RATE = re.compile(r"(^|[^a-z])(lr|learning_rate)([^a-z]|$)")
_VRAM = re.compile(r"vram|(gpu|cuda).*(mem|alloc|reserved)|(memory|mem).*(allocated|reserved)|peak_memory")
_MEMORY = re.compile(r"rss|memory|(^|[^a-z])(ram|mem)([^a-z]|$)")
_GPU_USE = re.compile(r"gpu.*(util|use|busy|percent)|util.*gpu|gpu\.[0-9]+\.gpu$|(^|[^a-z])gpu_util")
_CPU_USE = re.compile(r"(cpu|proc).*(util|use|percent|busy|seconds)|util.*cpu|(^|[^a-z])cpu$|utili[sz]ation")
_VERSIONS = {
    "CUDA": re.compile(r"(^|[^a-z])cuda(_version)?$"),
    "cuDNN": re.compile(r"cudnn"),
    "driver": re.compile(r"driver"),
}
_WEIGHTS_FILE = re.compile(r"\.(pt|pth|ckpt|safetensors|bin)$|checkpoint", re.IGNORECASE)


def judge_tracking(evidence: Evidence) -> Iterator[Said]:
    """Every finding and showing about what was logged and recorded."""
    yield from _environment(evidence)
    if evidence.measured.whole is None:
        return
    files = evidence.basis.files.files
    logged = gather(evidence.basis.files)
    yield from _recorded(evidence, files)
    yield from _trackers(files)
    yield from _config(evidence, files)
    yield from _metrics(evidence, logged)
    yield from _resources(evidence, logged)
    yield from _paths(evidence, logged)


def _environment(evidence: Evidence) -> Iterator[Said]:
    """E1, E5, V3: what the environment of the runs was made of; E3 and E4 stand in the manifest in any case."""
    if lock := evidence.basis.lock:
        yield measured("E1", lock)
        yield measured("V3", lock)
    if evidence.measured.rebuild.verdict == "CERTIFIED":
        yield measured("E5", f"built again from nothing, the image has the same id ({evidence.measured.rebuild.how})")


def _recorded(evidence: Evidence, files: tuple[RunFile, ...]) -> Iterator[Said]:
    """E2 and E3: what the run itself wrote about where it ran."""
    commit = evidence.measured.inputs.commit
    named = [file.path for file in files if any(value == commit for _, value in _values(file))]
    more = f"; the run's own {named[0]} names it too" if named else "; the run's own files do not name it"
    dirty = ", with uncommitted changes" if evidence.measured.inputs.dirty else ""
    yield measured("E3", f"commit {commit[:12]}{dirty} in manifest.json and verdict.json{more}")
    if evidence.basis.num_gpus == 0:
        versions = _process_versions(evidence)
        text = f"no GPU is used; recorded are {versions}" if versions else "no GPU is used"
        yield measured("E2", text, "does not apply")
        return
    there = {
        name: file.path
        for name, pattern in _VERSIONS.items()
        for file in files
        for path, value in _values(file)
        if value not in (None, "") and pattern.search(path.lower())
    }
    if absent := [name for name in _VERSIONS if name not in there]:
        yield finding("REP710", None, f"no file of the run has the version of {', '.join(absent)}")
    else:
        yield measured("E2", f"CUDA, cuDNN and driver in {', '.join(sorted(set(there.values())))}")


def _process_versions(evidence: Evidence) -> str:
    run = evidence.measured.whole[0] if evidence.measured.whole else None
    for event in run.events if run else ():
        versions = event.fields.get("versions")
        if event.kind == "process" and isinstance(versions, Mapping):
            return ", ".join(f"{name} {versions[name]}" for name in ("python", "torch") if name in versions)
    return ""


def _values(file: RunFile) -> Iterator[tuple[str, object]]:
    yield from leaves(file.document)
    for row in file.rows[:1000]:
        yield from leaves(row)
    if file.tracked is not None:
        yield from ((text.name, text.value) for text in file.tracked.texts)


def _trackers(files: tuple[RunFile, ...]) -> Iterator[Said]:
    """K1: files of TensorBoard and wandb with something in them."""
    trackers = [file for file in files if file.kind in ("tensorboard", "wandb")]
    for file in trackers:
        if file.problem:
            yield undecided("K1", f"{file.path}: {file.problem}")
        elif file.is_empty:
            yield finding("REP720", None, f"{file.path} ({file.size_bytes} bytes) holds nothing but its header")
    full = [file for file in trackers if file.tracked is not None and file.tracked.series]
    if full:
        named = [f"{f.path}: {len(f.tracked.series)} series, {_points(f)} points" for f in full if f.tracked]
        yield measured("K1", "; ".join(named[:4]))
    elif not trackers:
        others = [file.path for file in files if file.kind == "jsonl" and file.rows]
        more = f"; {others[0]} has metrics as JSON lines" if others else ""
        yield finding("REP720", None, f"the output has no TensorBoard or wandb file{more}")


def _points(file: RunFile) -> int:
    return sum(len(series.steps) for series in file.tracked.series) if file.tracked is not None else 0


def _config(evidence: Evidence, files: tuple[RunFile, ...]) -> Iterator[Said]:
    """E4 and K2: the configuration among the run's files, as it was given."""
    config = evidence.basis.config
    documents = [file for file in files if file.document is not None]
    equal = [file.path for file in documents if contains_config(file.document, config)]
    tracked = [file.path for file in files if file.tracked is not None and file.tracked.has_config]
    others = [
        file.path
        for file in documents
        if re.fullmatch(r"config\.json", file.path.rpartition("/")[2]) and "/" not in file.path
    ]
    if equal:
        yield measured("E4", f"{equal[0]} has every value of the experiment's config")
    elif others and config:
        yield finding("REP712", None, f"{others[0]} is not the experiment's config")
    else:
        yield measured("E4", "config.json and manifest.json of this certify; the run itself saved none")
    if tracked:
        yield measured("K2", f"in {', '.join(tracked[:3])}")
    elif equal:
        yield measured("K2", f"{equal[0]}, beside the metrics")
    else:
        yield finding("REP721", None, "neither a tracker nor a JSON file of the run has it")


def _metrics(evidence: Evidence, logged: Logged) -> Iterator[Said]:
    """T7 and K3: loss and learning rate of every step, and a validation loss."""
    steps = len(evidence.measured.whole[1].steps) if evidence.measured.whole else evidence.measured.inputs.steps
    train = logged.named(_LOSS, unless=_VALIDATION)
    validation = logged.named(_VALIDATION)
    rates = logged.named(_RATE)
    series = {"loss": train, "learning rate": rates}
    fullest = {name: max(found, key=lambda key: len(found[key])) for name, found in series.items() if found}
    counts = {name: len(series[name][fullest[name]]) if name in fullest else 0 for name in series}
    short = [f"{name} at {number} of {steps} steps" for name, number in counts.items() if number < steps]
    if short:
        yield finding("REP726", None, f"logged: {', '.join(short)}")
    else:
        where = sorted({logged.sources[name] for name in fullest.values()})
        yield measured("T7", f"{steps} steps of {' and '.join(fullest.values())} in {', '.join(where)}")
    if train and validation:
        longest = max(validation, key=lambda name: len(validation[name]))
        where = sorted({logged.sources[fullest["loss"]], logged.sources[longest]})
        yield measured("K3", f"{fullest['loss']} and {longest} in {', '.join(where)}")
    else:
        absent = " and ".join(n for n, found in (("training", train), ("validation", validation)) if not found)
        yield finding("REP722", None, f"no {absent} metric was logged")


def _resources(evidence: Evidence, logged: Logged) -> Iterator[Said]:
    """T6 and K4: memory and utilisation, at least once an epoch."""
    has_gpu = evidence.basis.num_gpus > 0
    epochs = _num_epochs(evidence)
    kinds: tuple[tuple[Item, str, re.Pattern[str], re.Pattern[str], str], ...] = (
        ("T6", "REP725", _VRAM, _MEMORY, "memory"),
        ("K4", "REP723", _GPU_USE, _CPU_USE, "utilisation"),
    )
    for item, rule, of_gpu, of_host, what in kinds:
        found = logged.named(of_gpu) if has_gpu else logged.named(of_gpu) | logged.named(of_host)
        enough = {name: steps for name, steps in found.items() if len(steps) >= epochs}
        if enough:
            name = max(enough, key=lambda one: len(enough[one]))
            note = "" if has_gpu else " (no GPU is used)"
            yield measured(item, f"{name} at {len(enough[name])} steps in {logged.sources[name]}{note}")
        elif has_gpu:
            count = max((len(steps) for steps in found.values()), default=0)
            yield finding(rule, None, f"{what} of the GPU was logged {count} times in {epochs} epochs")
        else:
            yield measured(item, "no GPU is used", "does not apply")


def _num_epochs(evidence: Evidence) -> int:
    """Epochs, as far as names of checkpoints or metrics tell; at least one."""
    named = [int(found[2]) for file in evidence.checkpoints if (found := EPOCH_NAME.fullmatch(file.path))]
    steps = evidence.steps_per_epoch
    return max([1, *named, *([evidence.measured.inputs.steps // steps] if steps else [])])


def _paths(evidence: Evidence, logged: Logged) -> Iterator[Said]:
    """K5: texts that name a checkpoint which lies there."""
    names = {file.path.rpartition("/")[2] for file in evidence.checkpoints}
    said = [(name, value) for name, value in logged.texts if _WEIGHTS_FILE.search(value) or _WEIGHTS_FILE.search(name)]
    there = sorted({name for name in names for _, value in said if name in value})
    if there:
        yield measured("K5", f"{len(there)} of {len(names)} checkpoints are named in the logs: {there[0]}")
    elif names:
        yield finding("REP724", None, f"no log names any of the {len(names)} checkpoints")
