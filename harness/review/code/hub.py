"""What a program loads from elsewhere (REP501 to REP505): may it change there, and does anything look at its bytes."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from harness.review.code.training import is_test
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Function, Module
from harness.review.source.nodes import and_more, arguments_of, last_name, nodes_within, text_constant, text_of, words
from harness.review.source.program import Program, calls_named

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MODEL_ID = re.compile(
    rf"{_HUB_ID.pattern}"
    r"|(gpt2|bert|distilbert|roberta|distilroberta|albert|xlnet|xlm-roberta|t5|facebook-|openai-gpt|ctrl)"
    r"(-(medium|large|xl|xxl|base|small|v\d|cased|uncased|multilingual|chinese|\d+b|distilled))*"
)
_DATASET_ID = re.compile(rf"{_HUB_ID.pattern}|[A-Za-z][\w-]*")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(:(main|master))?")  # another branch or tag is one that somebody chose
_SENTENCE_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FOLDERS = words(
    "artifacts cache checkpoint checkpoints ckpt ckpts data dataset datasets exp experiments files logs model models "
    "my_model out output outputs path path_to pretrained result results run runs saved saved_models tests tmp weights "
    "work your"
)
_LIBRARIES = words(
    "transformers peft diffusers tokenizers sentence_transformers timm open_clip trl unsloth optimum adapters "
    "huggingface_hub auto_gptq awq gptqmodel setfit span_marker gliner speechbrain nemo flair"
)
_BUILDERS = words(  # of datasets, for files of one's own
    "arrow audiofolder csv generator hdf5 imagefolder json lance niftifolder pandas parquet pdffolder sql text "
    "videofolder webdataset xml"
)
_MODEL_ARGUMENTS = ("pretrained_model_name_or_path", "model_id", "model_name", "model_name_or_path", "repo_id")
_FOLDER = re.compile(r"(?<!name_or_)(dir|path|folder|file)$|^(dir|path|folder|local)_?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Source:
    """What is loaded: its name on the hub, and whether it is surely this one."""

    name: str
    is_certain: bool


_FindSource = Callable[[Program, Site], _Source | None]


def check_loading(program: Program, module: Module) -> Iterator[Finding]:
    """REP501 to REP504 on one file."""
    if is_test(module):
        return
    remote = dict(_remote_code(program, module))
    yield from remote.values()

    def sites(*names: str) -> Iterator[Site]:
        return (one for one in program.calls(module, set(names)) if one.node not in remote and not one.is_open)

    models = (one for one in sites("from_pretrained") if one.meaning and one.name.partition(".")[0] in _LIBRARIES)
    yield from _unpinned(program, "REP501", models, _model, "from_pretrained")
    data = (one for one in sites("load_dataset", "load_dataset_builder") if one.name.startswith("datasets."))
    yield from _unpinned(program, "REP502", data, _dataset, "load_dataset")
    for site in sites(*(name.rpartition(".")[2] for name in _HUB_CALLS)):
        name = last_name(site.node.func)
        source = _hub_call(program, site)
        if source is not None and not _is_pinned(site):
            what = site.name if site.name == "torch.hub.load" else name
            message = f'{what} takes the newest "{source.name}": no revision is given'
            yield finding("REP503", site.place, message, proven=source.is_certain and site.is_certain)


def _unpinned(program: Program, rule: str, sites: Iterable[Site], find: _FindSource, what: str) -> Iterator[Finding]:
    """One finding for each name that a file loads, at its first place."""
    by_source: dict[_Source, list[Site]] = {}
    for site in sites:
        source = find(program, site)
        if source is not None and not _is_pinned(site):
            by_source.setdefault(source, []).append(site)
    for source, same in sorted(by_source.items(), key=lambda item: item[1][0].place):
        more = f" (as {len(same) - 1} more in this file)" if len(same) > 1 else ""
        which = f'"{source.name}"' if source.is_certain else f'"{source.name}", unless another is named,'
        message = f"{what} takes the newest {which}{more}: no revision is given"
        yield finding(rule, same[0].place, message, proven=source.is_certain and same[0].is_certain)


def _remote_code(program: Program, module: Module) -> Iterator[tuple[ast.Call, Finding]]:
    """REP504: one for each name of what is loaded."""
    found: dict[str, Finding | None] = {}
    names = {"from_pretrained", "from_config", "load_dataset", "pipeline"}
    for site in program.calls(module, names) if "trust_remote_code" in module.text else ():
        named = (site.argument(one) for one in (*_MODEL_ARGUMENTS, "model", "path"))
        given = site.node.args[0] if site.node.args else next((one for one in named if one is not None), None)
        is_library = site.name.partition(".")[0] in (*_LIBRARIES, "datasets")
        is_trusted = site.constant(site.argument("trust_remote_code")) is True
        if not (is_library and is_trusted) or given is None or site.is_open or _is_pinned(site):
            continue
        if _pins(site, "code_revision"):
            continue
        name = text_of(given)
        if name not in found:
            found[name] = _trusting(program, site, given, name)
        if (one := found[name]) is not None:
            yield site.node, one


def _trusting(program: Program, site: Site, given: ast.expr, name: str) -> Finding | None:
    value = site.constant(given)
    if value is ... and _FOLDER.search(last_name(given)):
        return None
    if isinstance(value, str) and (_HUB_ID.fullmatch(value) is None or _is_local(program, site, value)):
        return None
    what = last_name(site.node.func)
    message = f"{what} runs the newest code of {name}: no revision is given"
    return finding("REP504", site.place, message, proven=isinstance(value, str) and site.is_certain)


# ----------------------------------------------------------------------------- what is loaded
def _model(program: Program, site: Site) -> _Source | None:
    given = site.argument(_MODEL_ARGUMENTS[0], 0)
    for name in _MODEL_ARGUMENTS[1:]:
        given = given or site.argument(name)
    if site.constant(site.argument("local_files_only")) is True or site.argument("state_dict") is not None:
        return None
    return _source(program, site, given, _MODEL_ID)


def _dataset(program: Program, site: Site) -> _Source | None:
    if any(site.argument(name) is not None for name in ("data_files", "data_dir")):
        return None
    source = _source(program, site, site.argument("path", 0), _DATASET_ID)
    return None if source is None or source.name in _BUILDERS else source


_HUB_CALLS = {  # the library and the function, the argument that names what is fetched, its place, what is a name
    "huggingface_hub.hf_hub_download": ("repo_id", 0, _HUB_ID),
    "huggingface_hub.snapshot_download": ("repo_id", 0, _HUB_ID),
    "transformers.pipeline": ("model", 1, _HUB_ID),
    "sentence_transformers.SentenceTransformer": ("model_name_or_path", 0, _SENTENCE_ID),
    "torch.load": ("repo_or_dir", 0, _REPOSITORY),  # torch.hub.load
}


def _hub_call(program: Program, site: Site) -> _Source | None:
    name, last = site.name.partition(".")[0], last_name(site.node.func)
    argument, place, pattern = _HUB_CALLS.get(f"{name}.{last}", ("", 0, _HUB_ID))
    if not argument:
        return None
    if name != "torch":
        return _source(program, site, site.argument(argument, place), pattern)
    given = site.constant(site.argument(argument, place))
    is_hub = site.name == "torch.hub.load" and site.constant(site.argument("source", 99)) != "local"
    return _Source(given, is_certain=True) if is_hub and isinstance(given, str) and pattern.fullmatch(given) else None


def _is_pinned(site: Site) -> bool:
    return _pins(site, "revision") or _pins(site, "commit_hash")


def _pins(site: Site, argument: str) -> bool:
    """Whether an argument names something that does not move: no branch; an unknown value is taken for it."""
    given = site.argument(argument)
    return given is not None and site.constant(given) not in (None, "main", "master")


def _source(program: Program, site: Site, given: ast.expr | None, is_hub: re.Pattern[str]) -> _Source | None:
    """What an argument names: a literal, or what it is unless something else is given."""
    value = site.constant(given)
    default = _default(site, given) if value is ... else ""
    name = value if isinstance(value, str) else default
    if not name or not is_hub.fullmatch(name) or _is_local(program, site, name):
        return None
    return _Source(name, is_certain=isinstance(value, str))


def _is_local(program: Program, site: Site, name: str) -> bool:
    """A folder: of the tree, by its first name, or one that the file itself writes."""
    first = name.partition("/")[0].lower()
    if first in _FOLDERS or name.endswith((".json", ".bin", ".pt", ".safetensors", ".py", ".gguf")):
        return True
    if any(path.startswith(f"{name}/") for path in program.paths):
        return True
    written = rf"(save_pretrained|save_to_disk|output_dir\s*=|save_model)\(?\s*f?[\"']{re.escape(name)}"
    return re.search(written, site.module.text) is not None


def _default(site: Site, given: ast.expr | None) -> str:
    """The default of a parameter, or of the option or field that an attribute is read from; "" if none is seen."""
    if isinstance(given, ast.Name):
        bindings = site.resolver.bindings(given.id, site.scope)
        if len(bindings) == 1 and bindings[0].kind == "parameter":
            return text_constant(bindings[0].value)
    if isinstance(given, ast.Attribute):
        return _field(site.module, given.attr)
    return ""


def _field(module: Module, name: str) -> str:
    """The default of `name: str = field(default="...")`, `name: str = "..."` or `add_argument("--name", ...)`."""
    found = set()
    for scope in module.scopes.values():
        for binding in scope.bindings.get(name, []) if scope.kind == "class" else ():
            given = binding.value
            found.add(_default_of(given) if isinstance(given, ast.Call) else text_constant(given))
    for node in calls_named(module, {"add_argument"}):
        if name in [text_constant(one).lstrip("-").replace("-", "_") for one in node.args]:
            found.add(_default_of(node))
    return found.pop() if len(found) == 1 else ""


def _default_of(node: ast.Call) -> str:
    return next((text_constant(one.value) for one in node.keywords if one.arg == "default"), "")


_FETCHERS = {  # with the argument that names a checksum, or asks for one
    "urllib.request.urlretrieve": "",
    "wget.download": "",
    "gdown.download": "",
    "torch.hub.download_url_to_file": "hash_prefix",
    "torch.hub.load_state_dict_from_url": "check_hash",
    "torch.utils.model_zoo.load_url": "check_hash",
    "torchvision.datasets.utils.download_url": "md5",
    "torchvision.datasets.utils.download_and_extract_archive": "md5",
}
_CHECKED = re.compile(r"sha256|sha1|sha512|md5|blake|checksum|digest|hexdigest|verify|hash", re.IGNORECASE)


def check_downloads(program: Program, module: Module) -> Iterator[Finding]:
    """A file fetched in a function in which nothing speaks of a checksum."""
    found: dict[str, list[tuple[Site, str]]] = {}
    for site, what in () if is_test(module) else (*_fetched(program, module), *_responses(program, module)):
        if not _is_checked(site):
            found.setdefault(site.name, []).append((site, what))
    for same in found.values():
        site, what = same[0]
        message = f"{what}{and_more(len(same))}, and nothing checks its bytes"
        yield finding("REP505", site.place, message, proven=site.is_certain)


def _fetched(program: Program, module: Module) -> Iterator[tuple[Site, str]]:
    """Calls that write a file by themselves, by their names."""
    for site in program.calls(module, {name.rpartition(".")[2] for name in _FETCHERS}):
        checksum = _FETCHERS.get(site.name)
        if checksum == "" or (checksum and not _is_given(site, checksum)):
            yield site, f"{last_name(site.node.func)} fetches {_what(site)}"


def _is_given(site: Site, checksum: str) -> bool:
    given = site.argument(checksum)
    return site.is_open or (given is not None and site.constant(given) not in (None, False))


def _responses(program: Program, module: Module) -> Iterator[tuple[Site, str]]:
    """`requests.get(...)` whose bytes the same function writes into a file."""
    for site in program.calls(module, {"get"}):
        around = site.scope.function
        if site.name not in ("requests.get", "httpx.get") or around is None:
            continue
        if getattr(module.parents[site.node], "attr", "") in ("json", "text", "status_code", "ok"):
            continue  # an answer that is read, not a file
        if any(_writes_bytes(one) for one in nodes_within(around.node)):
            yield site, f"{site.name} fetches {_what(site)} and writes it into a file"


def _writes_bytes(node: ast.AST) -> bool:
    """`path.write_bytes(...)`, or a file that is opened to write bytes."""
    if not isinstance(node, ast.Call):
        return False
    if last_name(node.func) == "write_bytes":
        return True
    modes = [one.value for one in arguments_of(node) if isinstance(one, ast.Constant)]
    return last_name(node.func) == "open" and any(mode in ("wb", "wb+", "bw", "xb") for mode in modes)


def _is_checked(site: Site) -> bool:
    """Whether the function around it, or the file's own statements, speak of a checksum anywhere."""
    around = next((one for one in site.module.ancestors(site.node) if isinstance(one, Function)), None)
    lines = site.module.lines if around is None else site.module.lines[around.lineno - 1 : around.end_lineno]
    return _CHECKED.search("\n".join(lines)) is not None


def _what(site: Site) -> str:
    given = site.argument("url", 0)
    return "a file" if given is None else text_of(given, 60)
