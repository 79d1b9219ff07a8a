"""The site of docs/: every page is in it, links and anchors lead somewhere, it fetches nothing, a phone shows it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import cli
from tests import ROOT
from tests.tools import chromium
from tests.tools.test_report_in_browser import NO_BROWSER, PHONE

# Of the theme's own making: switches and menus that are hidden; code that gets a tab stop once it is scrolled to.
OF_THE_THEME = ("aria-hidden-focus", "aria-dialog-name", "landmark-unique", "scrollable-region-focusable")
PAGES = ("index", "cli", "gpu", "glossary", "architecture", "guide/any-trainer", "causes/index", "rules/REP101")


def build(mkdocs, site, root=ROOT):
    """What mkdocs says, building the documents below `root`; it is strict."""
    environment = {**os.environ, "PYTHONPATH": f"{mkdocs}:{ROOT}", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(mkdocs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(mkdocs, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_in_the_navigation(site):
    start = (site / "index.html").read_text()
    for path in (ROOT / "docs").rglob("*.md"):
        page = path.relative_to(ROOT / "docs").with_name("index.md" if path.name == "README.md" else path.name)
        address = page.with_suffix(".html").as_posix()
        assert (site / address).is_file() and f'href="{address}"' in start, page


def test_every_command_is_described(site):
    text = (site / "cli.html").read_text()
    assert all(f'id="{name}"' in text for name in cli.commands)


def test_a_link_or_an_anchor_that_leads_nowhere_fails_the_build(mkdocs, tmp_path):
    for name in ("docs", ".ci", "pipelines", "mkdocs.yml", *(path.name for path in ROOT.glob("*.md"))):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    with (tmp_path / "README.md").open("a") as file:
        file.write("\n[a](docs/nowhere.md) [b](docs/gpu.md#nowhere) [c](lockfiles/nowhere.in)\n")
    done = build(mkdocs, tmp_path / "site", tmp_path)
    assert done.returncode != 0
    assert all(f"'{link}'" in done.stderr for link in ("docs/nowhere.md", "gpu.md#nowhere", "lockfiles/nowhere.in"))


@pytest.mark.skipif(chromium.find() is None, reason=NO_BROWSER)
@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fetches_nothing_says_nothing_fits_a_phone_and_is_accessible(browser, site, tools, name, is_dark):
    page = browser.page(PHONE, is_dark=is_dark)
    page.open(Path(site / f"{name}.html"))
    assert [address for address in page.requests() if not address.startswith(("file:", "data:"))] == []
    assert page.complaints() == [] and page.run("document.documentElement.scrollWidth") <= PHONE
    assert [found for found in chromium.violations(page, tools) if not found.startswith(OF_THE_THEME)] == []
