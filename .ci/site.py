"""mkdocs' hooks for the site of docs/: pages that lie elsewhere in the repository, and links that GitHub resolves.

A document is written for GitHub, where links are paths in the repository. In the site a link to a page goes to the
page, one to a folder to its list, and one to any other file to the repository.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "pipelines/README.md": "contract.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LISTED = {"rules": "Rules of the review", "decisions": "Decisions", "schemas": "Schemas"}
CLI = """# Commands

::: mkdocs-click
    :module: harness.cli
    :command: cli
    :prog_name: harness
    :depth: 1
"""
FENCE = re.compile(r"^( *```)(\w*)([^\n]*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s#]+)(#[^()\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, the lists of folders, and the commands."""
    generated = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in ELSEWHERE.items()}
    generated |= {f"{folder}/index.md": _list(folder, title) for folder, title in LISTED.items()}
    for page, text in (generated | {"cli.md": CLI}).items():
        files.append(File.generated(config, page, content=text))
    return files


def _list(folder: str, title: str) -> str:
    paths = sorted((ROOT / "docs" / folder).iterdir())
    titles = {path.name: path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for path in paths}
    rows = [f"- [{titles[name] if name.endswith('.md') else name}]({name})" for name in titles]
    return "\n".join([f"# {title}", "", *rows, ""])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to where their targets are in the site, and take from blocks of code what is said to the tests."""
    page_path = page.file.src_uri
    sources = {target: source for source, target in ELSEWHERE.items()}
    repository = f"{config.extra['repository']}/blob/main"
    folder = posixpath.dirname(sources.get(page_path, f"docs/{page_path}"))

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        found = ELSEWHERE.get(path) or _in_site(path, files)
        if found is None and not (ROOT / path).exists():
            return match[0]  # mkdocs says that it leads nowhere
        there = f"{repository}/{path}" if found is None else _relative(found, page_path)
        return f"]({there}{anchor})"

    parts, end = [], 0
    for block in FENCE.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : block.start()]), _block(block, f"{repository}/docs/{page_path}")]
        end = block.end()
    return "".join([*parts, LINK.sub(link, markdown[end:])])


def _block(block: re.Match[str], source: str) -> str:
    fence, language, _, body = block.groups()
    if language == "mermaid":  # drawing it here would take a script of 3 MB
        return f"[The diagram, as GitHub draws it]({source})"
    return f"{fence}{language}\n{body}{fence}"


def _in_site(path: str, files: Files) -> str | None:
    """The page or file of a path in the repository, or None where the site has none."""
    if not path.startswith("docs/"):
        return None
    inner = path.removeprefix("docs/")
    return next(
        (name for name in (inner, f"{inner}/README.md", f"{inner}/index.md") if files.get_file_from_path(name)), None
    )


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
