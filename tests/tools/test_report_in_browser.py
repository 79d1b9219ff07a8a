"""report.html in a real browser, on a desk, on a phone, in the dark and on paper; and the badge.

Needs a Chromium in PATH (Debian: apt-get install chromium), else everything here is skipped. What is measured with,
axe-core and a reader of PDFs, comes from lockfiles/browser.lock into a folder of its own.
"""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from harness.report.documents import render_documents
from tests import ROOT
from tests.made import replay_data, review_data
from tests.made import report_data as data
from tests.tools import chromium

NO_BROWSER = "no Chromium in PATH (Debian: apt-get install chromium)"
pytestmark = pytest.mark.skipif(chromium.find() is None, reason=NO_BROWSER)
LOCK = ROOT / "lockfiles" / "browser.lock"
REVIEWED = {"review": review_data.REVIEW.to_json()}
NOTHING = {key: data.check("NOT_CHECKED", compared={}) for key in ("rerun", "resume", "rebuild")}
FAILED = {"controls": [data.CERTIFIED["control"]["controls"][0] | {"detected": False}], "failed_as_it_must": False}
DOCUMENTS = {
    "certified": (data.verdict(**REVIEWED), data.manifest(), data.curves()),
    "diverged": (data.verdict(data.DIVERGED, **REVIEWED), data.manifest(), data.curves(0.02)),
    "inconclusive": (data.verdict(data.INCONCLUSIVE), data.manifest(), data.curves()[:1]),
    "vetoed": (data.verdict(data.INCONCLUSIVE, verdict="VETOED", checks=NOTHING, **REVIEWED), None, []),
    "planted": (data.verdict(data.DIVERGED, control=FAILED), data.manifest(), data.curves()[:1]),
    "prefix": (data.verdict(scope={"steps": 20, "of": 60}), data.manifest(), data.curves()),
    "replay": (data.verdict(replay_data.CERTIFIED), data.manifest(), data.curves()[:1]),
    "replay diverged": (data.verdict(replay_data.DIVERGED), data.manifest(), data.curves()[:1]),
}
PHONE, DESK = 360, 1280
VIEWS = [(name, *view) for name in DOCUMENTS for view in ((PHONE, False), (DESK, True))]
VIEWS += [("diverged", PHONE, True), ("diverged", DESK, False)]
# An element that ends beyond the window although nothing around it scrolls.
STICKS_OUT = """
[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5
  && !e.closest('.unseen, .skip, thead, .long, .strip') && getComputedStyle(e).position !== 'absolute')
  .map(e => e.outerHTML.slice(0, 120))
"""
# A table that must be scrolled sideways to be read.
CLIPPED = """
[...document.querySelectorAll('.long')].filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => [e.scrollWidth, e.clientWidth, e.innerText.slice(0, 80)].join(' '))
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Each document's folder."""
    folder = tmp_path_factory.mktemp("reports")
    for name, document in DOCUMENTS.items():
        (folder / name).mkdir()
        for title, content in render_documents(*document).items():
            (folder / name / title).write_bytes(content)
    return folder


def pdf_pages(tools, path):
    """Of each page of a PDF: its text, and the share of its pixels that are not white, and that are dark."""
    code = """
import json, sys, pypdfium2
pages = []
for page in pypdfium2.PdfDocument(sys.argv[1]):
    bitmap = page.render(scale=0.5, grayscale=True)
    pixels = bytes(bitmap.buffer)
    pages.append([page.get_textpage().get_text_range(), sum(p < 250 for p in pixels) / len(pixels),
                  sum(p < 60 for p in pixels) / len(pixels)])
print(json.dumps(pages))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tools)},
        timeout=120,
    )
    return json.loads(done.stdout)


def complain(page, tools):
    """Everything that may be wrong with a page."""
    return page.complaints() + page.run(STICKS_OUT) + page.run(CLIPPED) + chromium.violations(page, tools)


@pytest.mark.parametrize(("name", "width", "is_dark"), VIEWS)
def test_a_report_loads_nothing_says_nothing_fits_its_window_and_is_accessible(
    browser, reports, tools, name, width, is_dark
):
    page = browser.page(width, is_dark=is_dark)
    path = reports / name / "report.html"
    page.open(path)
    assert page.requests() == [path.as_uri()]
    assert page.run("document.documentElement.scrollWidth") <= width
    assert complain(page, tools) == []


def test_with_every_fold_opened_it_still_fits_a_phone_and_is_accessible(browser, reports, tools):
    page = browser.page(PHONE)
    page.open(reports / "diverged" / "report.html")
    assert page.run("[...document.querySelectorAll('details')].map(d => d.open = true).length") >= 2
    assert page.run("document.documentElement.scrollWidth") <= PHONE
    assert complain(page, tools) == []


def test_the_checks_themselves_see_a_page_that_is_wrong(browser, tools, tmp_path):
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/missing.png"
        (tmp_path / "page.html").write_text(
            f"<!doctype html><title>x</title><main><p style='color:#ccc'>pale</p><img src='{address}'>"
            "<div style='width:500px'>wide</div><script>throw new Error('thrown')</script></main>"
        )
        page = browser.page(PHONE)
        page.open(tmp_path / "page.html")
        assert address in page.requests()
        server.shutdown()
    said = "\n".join(complain(page, tools))
    assert all(word in said for word in ("thrown", "wide", "color-contrast", "image-alt", "html-has-lang"))


def test_dark_and_light_are_two_themes(browser, reports):
    colours = []
    for is_dark in (False, True):
        page = browser.page(DESK, is_dark=is_dark)
        page.open(reports / "certified" / "report.html")
        colours.append(page.run("getComputedStyle(document.body).backgroundColor"))
    light, dark = ([int(part) for part in colour[4:-1].split(",")] for colour in colours)
    assert min(light) > 200 and max(dark) < 60


@pytest.mark.parametrize("name", DOCUMENTS)
def test_on_paper_the_verdict_is_on_page_one_folds_are_open_and_no_page_is_blank(
    browser, reports, tools, tmp_path, name
):
    page = browser.page(DESK, is_dark=True)  # a reader in the dark prints on white as well
    page.open(reports / name / "report.html")
    page.print(tmp_path / "report.pdf")
    pages = pdf_pages(tools, tmp_path / "report.pdf")
    verdict, manifest, _ = DOCUMENTS[name]
    assert verdict.verdict in pages[0][0] and verdict.summary[:40] in " ".join(pages[0][0].split())
    assert [number for number, (text, ink, _) in enumerate(pages, 1) if len(text) < 60 or ink < 0.005] == []
    assert all(dark < 0.12 for _, _, dark in pages)
    whole = " ".join(" ".join(text.split()) for text, _, _ in pages)
    for fold, shown in (("review", "seeded generator"), ("replay", "cached")):
        assert (shown in whole) == (getattr(verdict, fold) is not None)
    assert ("lora_rank:" in whole) == (manifest is not None)
    assert f"1 / {len(pages)}" in pages[0][0]


@pytest.mark.parametrize("fonts", ["", "DejaVu Sans", "monospace"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_text_of_a_badge_is_clipped_whatever_the_font(browser, reports, tmp_path, name, fonts):
    text = (reports / name / "badge.svg").read_text()
    (tmp_path / "badge.svg").write_text(text.replace("Verdana", fonts or "Verdana"))
    page = browser.page(DESK)
    page.open(tmp_path / "badge.svg")
    boxes = "[...document.querySelectorAll('g > rect, text')].map(e => e.getBBox()).map(b => [b.x, b.x + b.width])"
    left, right, label, message = page.run(boxes)
    for (begin, end), (first, last) in ((left, label), (right, message)):
        assert begin + 3 <= first and last <= end - 3
    assert page.complaints() == [] and len(page.requests()) == 1


def test_a_badge_has_a_name_and_enough_contrast(browser, reports, tools):
    page = browser.page(DESK)
    page.open(reports / "certified" / "badge.svg")
    assert page.run("document.documentElement.getAttribute('role')") == "img"
    assert "CERTIFIED" in page.run("document.querySelector('title').textContent")
