"""Files that a program downloads: does anything look at their bytes before they are used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

from harness.review.code.loops import calls_named, is_test, last_name, nodes_within, site_of, text_of
from harness.review.finding import Certainty, Finding
from harness.review.source.module import Function, Module
from harness.review.source.program import Program, Site

_FETCHERS = {
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
    """REP505: a file fetched in a function in which nothing speaks of a checksum."""
    if is_test(module):
        return
    found: dict[str, list[Finding]] = {}
    for name, finding in (*_fetched(program, module), *_responses(program, module)):
        found.setdefault(name, []).append(finding)
    for same in found.values():
        more = f" (and {len(same) - 1} more in this file)" if len(same) > 1 else ""
        yield replace(same[0], message=f"{same[0].message}{more}, and nothing checks its bytes")


def _fetched(program: Program, module: Module) -> Iterator[tuple[str, Finding]]:
    """Calls that write a file by themselves, by their names."""
    names = {name.rpartition(".")[2] for name in _FETCHERS}
    for node in calls_named(module, names):
        site = site_of(program, module, node)
        switch = _FETCHERS.get(site.name)
        if switch is None or (switch and _is_given(site, switch)):
            continue
        if not _is_checked(module, node):
            yield site.name, _download(site, f"{last_name(node.func)} fetches {_what(site)}")


def _is_given(site: Site, switch: str) -> bool:
    """Whether the argument that names a checksum, or asks for one, is given, or may be."""
    given = site.argument(switch)
    return site.is_open or (given is not None and site.constant(given) not in (None, False))


def _responses(program: Program, module: Module) -> Iterator[tuple[str, Finding]]:
    """`requests.get(...)` whose bytes the same function writes into a file."""
    for node in calls_named(module, {"get"}):
        site = site_of(program, module, node)
        around = site.scope.function
        if site.name not in ("requests.get", "httpx.get") or around is None or _is_checked(module, node):
            continue
        if getattr(module.parents[node], "attr", "") in ("json", "text", "status_code", "ok"):
            continue  # an answer that is read, not a file
        if any(_writes_bytes(one) for one in nodes_within(around.node)):
            yield site.name, _download(site, f"{site.name} fetches {_what(site)} and writes it into a file")


def _writes_bytes(node: ast.AST) -> bool:
    """`path.write_bytes(...)`, or a file that is opened to write bytes."""
    if not isinstance(node, ast.Call):
        return False
    if last_name(node.func) == "write_bytes":
        return True
    modes = [one for one in (*node.args, *(k.value for k in node.keywords)) if isinstance(one, ast.Constant)]
    return last_name(node.func) == "open" and any(one.value in ("wb", "wb+", "bw", "xb") for one in modes)


def _is_checked(module: Module, node: ast.Call) -> bool:
    """Whether the function around it, or the file's own statements, speak of a checksum anywhere."""
    around = next((one for one in module.ancestors(node) if isinstance(one, Function)), None)
    if around is None:
        return _CHECKED.search(module.text) is not None
    text = "\n".join(module.lines[around.lineno - 1 : around.end_lineno])
    return _CHECKED.search(text) is not None


def _what(site: Site) -> str:
    given = site.argument("url", 0)
    text = "a file" if given is None else text_of(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _download(site: Site, what: str) -> Finding:
    certainty: Certainty = "proven" if site.is_certain else "possible"
    return Finding(rule="REP505", certainty=certainty, place=site.place, message=what)
