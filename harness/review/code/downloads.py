"""REP505: files that a program downloads, and whether anything looks at their bytes before they are used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from harness.review.code.training import is_test
from harness.review.finding import Finding, finding
from harness.review.source.execution import Site
from harness.review.source.module import Function, Module
from harness.review.source.nodes import and_more, arguments_of, last_name, nodes_within, text_of
from harness.review.source.program import Program

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
