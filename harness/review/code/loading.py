"""What a program loads from a hub: weights, data sets, code, and whether the same bytes come again."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from harness.review.code.hub_names import (
    HUB_ID,
    KNOWN,
    LIBRARIES,
    MODEL_ARGUMENTS,
    Source,
    is_local,
    is_pinned,
    pins,
    source_of,
)
from harness.review.code.loops import calls_named, is_test, last_name, site_of, text_of
from harness.review.finding import Certainty, Finding
from harness.review.source.module import Module
from harness.review.source.program import Program, Site

_BUILDERS = frozenset(
    [
        "arrow",
        "audiofolder",
        "csv",
        "generator",
        "hdf5",
        "imagefolder",
        "json",
        "lance",
        "niftifolder",
        "pandas",
        "parquet",
        "pdffolder",
        "sql",
        "text",
        "videofolder",
        "webdataset",
        "xml",
    ]
)
_FOLDER = re.compile(r"(?<!name_or_)(dir|path|folder|file)$|^(dir|path|folder|local)_?", re.IGNORECASE)
FindSource = Callable[[Program, Site], Source | None]


def check_loading(program: Program, module: Module) -> Iterator[Finding]:
    """REP501 to REP504 on one file."""
    if is_test(module):
        return
    remote = {node for node, _ in _remote_code(program, module)}
    yield from (finding for _, finding in _remote_code(program, module))
    models = _sites(program, module, {"from_pretrained"}, remote, _is_hub_class)
    yield from _unpinned(program, "REP501", models, _model, "from_pretrained")
    data = _sites(program, module, {"load_dataset", "load_dataset_builder"}, remote, _is_from("datasets"))
    yield from _unpinned(program, "REP502", data, _dataset, "load_dataset")
    yield from _hub_downloads(program, module, remote)


def _sites(
    program: Program, module: Module, names: AbstractSet[str], without: set[ast.Call], wanted: Callable[[Site], bool]
) -> Iterator[Site]:
    for node in calls_named(module, names):
        site = site_of(program, module, node)
        if node not in without and not site.is_open and wanted(site):
            yield site


def _is_hub_class(site: Site) -> bool:
    """`from_pretrained` of a library's class; of the tree's own it means whatever they make of it."""
    return site.meaning is not None and site.name.partition(".")[0] in LIBRARIES


def _is_from(library: str) -> Callable[[Site], bool]:
    return lambda site: site.name.startswith(f"{library}.")


def _unpinned(program: Program, rule: str, sites: Iterator[Site], source: FindSource, what: str) -> Iterator[Finding]:
    """One finding for each name that a file loads, at its first place."""
    by_name: dict[tuple[str, bool], list[Site]] = {}
    for site in sites:
        found = source(program, site)
        if found is not None and not is_pinned(site):
            by_name.setdefault((found.name, found.is_certain), []).append(site)
    for (name, is_certain), same in sorted(by_name.items(), key=lambda item: item[1][0].place):
        more = f" (as {len(same) - 1} more in this file)" if len(same) > 1 else ""
        which = f'"{name}"' if is_certain else f'"{name}", unless another is named,'
        yield Finding(
            rule=rule,
            certainty="proven" if is_certain and same[0].is_certain else "possible",
            place=same[0].place,
            message=f"{what} takes {which} as it is on the day{more}: no revision is given",
        )


def _model(program: Program, site: Site) -> Source | None:
    given = site.argument(MODEL_ARGUMENTS[0], 0)
    for name in MODEL_ARGUMENTS[1:]:
        given = given or site.argument(name)
    if site.constant(site.argument("local_files_only")) is True or site.argument("state_dict") is not None:
        return None
    return source_of(
        program, site, given, lambda name: HUB_ID.fullmatch(name) is not None or KNOWN.fullmatch(name) is not None
    )


def _dataset(program: Program, site: Site) -> Source | None:
    if any(site.argument(name) is not None for name in ("data_files", "data_dir")):
        return None
    return source_of(
        program, site, site.argument("path", 0), lambda name: name not in _BUILDERS and _is_hub_dataset(name)
    )


def _is_hub_dataset(name: str) -> bool:
    return HUB_ID.fullmatch(name) is not None or re.fullmatch(r"[A-Za-z][\w-]*", name) is not None


def _remote_code(program: Program, module: Module) -> list[tuple[ast.Call, Finding]]:
    """REP504: one for each name of what is loaded."""
    if "trust_remote_code" not in module.text:
        return []
    found: list[tuple[ast.Call, Finding]] = []
    seen: set[str] = set()
    for node in calls_named(module, {"from_pretrained", "from_config", "load_dataset", "pipeline"}):
        if not any(one.arg == "trust_remote_code" for one in node.keywords):
            continue
        site = site_of(program, module, node)
        named = (site.argument(one) for one in (*MODEL_ARGUMENTS, "model", "path"))
        given = node.args[0] if node.args else next((one for one in named if one is not None), None)
        is_library = site.name.partition(".")[0] in (*LIBRARIES, "datasets")
        trusted = site.constant(site.argument("trust_remote_code")) is True
        if not (is_library and trusted) or given is None or site.is_open or is_pinned(site):
            continue
        if pins(site, "code_revision"):
            continue
        name = text_of(given)
        if name in seen:
            found.append((node, found[-1][1]))
            continue
        seen.add(name)
        value = site.constant(given)
        if value is ... and _FOLDER.search(last_name(given)):
            continue
        if isinstance(value, str) and (HUB_ID.fullmatch(value) is None or is_local(program, site, value)):
            continue
        message = f"{last_name(node.func)} trusts the code that lies beside {name} on the day: no revision is given"
        certainty: Certainty = "proven" if isinstance(value, str) and site.is_certain else "possible"
        found.append((node, Finding(rule="REP504", certainty=certainty, place=site.place, message=message)))
    return found


def _hub_downloads(program: Program, module: Module, without: set[ast.Call]) -> Iterator[Finding]:
    """REP503: each call whose repository is named in it."""
    for node in calls_named(module, _HUB_CALLS.keys()):
        if node in without:
            continue
        site = site_of(program, module, node)
        source = _HUB_CALLS[last_name(node.func)](program, site)
        if source is None or site.is_open or is_pinned(site):
            continue
        what = site.name if site.name == "torch.hub.load" else last_name(node.func)
        yield Finding(
            rule="REP503",
            certainty="proven" if source.is_certain and site.is_certain else "possible",
            place=site.place,
            message=f'{what} takes "{source.name}" as it is on the day: no revision is given',
        )


def _repository(program: Program, site: Site) -> Source | None:
    if not site.name.startswith("huggingface_hub."):
        return None
    return source_of(program, site, site.argument("repo_id", 0), lambda name: HUB_ID.fullmatch(name) is not None)


def _pipeline(program: Program, site: Site) -> Source | None:
    if not site.name.startswith("transformers."):
        return None
    return source_of(program, site, site.argument("model", 1), lambda name: HUB_ID.fullmatch(name) is not None)


def _sentence(program: Program, site: Site) -> Source | None:
    if not site.name.startswith("sentence_transformers."):
        return None
    given = site.argument("model_name_or_path", 0)
    return source_of(program, site, given, lambda name: re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None)


def _torch_hub(_: Program, site: Site) -> Source | None:
    """`torch.hub.load("owner/repository")`; a branch or tag behind a colon is one that somebody chose."""
    if site.name != "torch.hub.load" or site.constant(site.argument("source", 99)) == "local":
        return None
    given = site.constant(site.argument("repo_or_dir", 0))
    is_moving = isinstance(given, str) and re.fullmatch(r"[\w.-]+/[\w.-]+(:(main|master))?", given) is not None
    return Source(given, is_certain=True) if is_moving and isinstance(given, str) else None


_HUB_CALLS: dict[str, FindSource] = {
    "hf_hub_download": _repository,
    "snapshot_download": _repository,
    "pipeline": _pipeline,
    "SentenceTransformer": _sentence,
    "load": _torch_hub,
}
