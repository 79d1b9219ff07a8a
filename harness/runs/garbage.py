"""What of the cache, the runs and the engine's images nothing refers to: the decisions, without touching anything.

As with the roots of Nix's collector, what counts is what a checkout on this machine names: locks, experiments,
images. What cannot be attributed to a checkout, because its name is a digest of many things, is kept for a while after
it was last used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

PATIENCE_S = 30 * 24 * 3600
"""How long what cannot be attributed is kept after it was last used, in seconds."""

GRACE_S = 3600
"""How long something unfinished that may be another process's is left alone after it was last written, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """Something in the cache.

    Attributes:
        kind: what it is.
        key: its own name there, without suffix: a digest's digits, an experiment's name.
        paths: what would be removed, relative to the cache.
        used_at: POSIX time of its last known use, in seconds.
    """

    kind: str
    key: str
    paths: tuple[str, ...]
    used_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class References:
    """What the checkouts on this machine name; digests as digits alone.

    Attributes:
        blobs: wheels, Debian packages, inputs and the files of inputs.
        inputs: the sha256 that experiments pin.
        recipes: keys of images, as their recipes stand now.
        bases: keys of their bases.
        environments: digests of what the locks pin.
        experiments: names.
        checkouts: keys of the checkouts that are still there.
        layers: digests (`sha256:...`) of the layers of kept bases.
        tags: of kept images.
        cited: ids of the runs that archives name.
        kept_kinds: what is kept whatever its name is, because a file that may name it cannot be read.
        unread: these files, each with why it cannot be read and what is kept, in one line.
    """

    blobs: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)
    recipes: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    environments: set[str] = field(default_factory=set)
    experiments: set[str] = field(default_factory=set)
    checkouts: set[str] = field(default_factory=set)
    layers: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    cited: set[str] = field(default_factory=set)
    kept_kinds: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """A run's folder in a checkout.

    Attributes:
        checkout: the checkout's path.
        experiment: its name.
        run_id: begins with the time at which it began, so that names sort by age.
        verdict: what its verdict.json says, or "" where that cannot be read.
        is_finished: whether it has a manifest; one that was given up has none.
        is_latest: whether `latest` points at it.
        written_at: POSIX time of the newest file in it, in seconds.
        is_held: whether its certify goes on.
    """

    checkout: str
    experiment: str
    run_id: str
    verdict: str
    is_finished: bool
    is_latest: bool
    written_at: float
    is_held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedImage:
    """A tag of an image in the engine.

    Attributes:
        tag: `repro-harness/<name>:<digits>`.
        engine_id: what the engine calls the image.
        layers: digests of its layers, lowest first.
        size_bytes: as the engine counts it, layers that are shared with other images included.
        tagged_at: POSIX time, in seconds; 0 where the engine did not note it.
        is_used: whether a container is made from it, running or not.
    """

    tag: str
    engine_id: str
    layers: tuple[str, ...]
    size_bytes: int
    tagged_at: float
    is_used: bool


def garbage_of_cache(things: Iterable[CacheEntry], known: References, now: float) -> tuple[CacheEntry, ...]:
    """The things that nothing refers to; `now` is POSIX time in seconds, here and below."""
    return tuple(thing for thing in things if not _is_kept(thing, known, now))


def garbage_of_runs(runs: Iterable[KeptRun], known: References, now: float) -> tuple[KeptRun, ...]:
    """The runs that nothing refers to.

    Kept are, of every experiment, the newest run, the one that `latest` points at and the newest that was certified;
    every run that is cited; every run whose verdict cannot be read; and what may still be going on.
    """
    if "run" in known.kept_kinds:
        return ()
    groups: dict[tuple[str, str], list[KeptRun]] = {}
    for run in sorted(runs, key=lambda run: run.run_id):
        groups.setdefault((run.checkout, run.experiment), []).append(run)
    found: list[KeptRun] = []
    for key in sorted(groups):
        group = groups[key]
        certified = [run.run_id for run in group if run.verdict == "CERTIFIED"]
        kept = {group[-1].run_id, *certified[-1:], *known.cited}
        found += [
            run
            for run in group
            if run.run_id not in kept
            and not run.is_latest
            and run.verdict
            and (run.is_finished or (not run.is_held and now - run.written_at > GRACE_S))
        ]
    return tuple(found)


def is_forgotten(used_at: float, now: float) -> bool:
    """Whether something that no name refers to was last used so long ago that it goes; both are POSIX times in seconds.

    A bisection's folder is such a thing as well: the same question asked again goes on where it was.
    """
    return now - used_at > PATIENCE_S


def garbage_of_images(images: Iterable[TaggedImage], known: References, now: float) -> tuple[TaggedImage, ...]:
    """The tags that no kept record names.

    An image that a container is made from stays, and so does what was tagged a moment ago: a build that keeps its cache
    elsewhere may be at work in the same engine. (Engines note that time for what they build, not for what they load.)
    """
    return tuple(
        image
        for image in sorted(images, key=lambda image: image.tag)
        if "image" not in known.kept_kinds
        and image.tag not in known.tags
        and not (len(image.layers) == 1 and image.layers[0] in known.layers)
        and not image.is_used
        and now - image.tagged_at > GRACE_S
    )


def _is_kept(thing: CacheEntry, known: References, now: float) -> bool:
    if thing.kind in known.kept_kinds:
        return True
    digits = thing.key.rpartition("-")[2]
    if thing.kind in ("input", "unpacked"):
        return digits in known.inputs
    if thing.kind == "environment":
        return any(one.startswith(thing.key.partition("-")[0]) for one in known.environments)
    named: dict[str, set[str]] = {
        "base": known.bases,
        "blob": known.blobs,
        "checkout": known.checkouts,
        "image record": known.recipes,
        "rebuild record": known.recipes,
        "timings": known.experiments,
    }
    if thing.kind in named:
        return thing.key in named[thing.kind]
    if thing.kind in ("controls", "prepared", "review"):
        return not is_forgotten(thing.used_at, now)
    return False
