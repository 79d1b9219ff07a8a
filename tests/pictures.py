"""Make docs/pictures/ from a run: `python -m tests.pictures [RUN]` (a run id, a folder, or an experiment's latest run).

Needs a Chromium in PATH. Of a certified run the pictures are those that a reader sees first: desk, dark, phone. Of one
that diverged they are the two maps, of streams and of modules.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness.workflow.report import report
from tests import ROOT
from tests.tools import chromium

MAX_BYTES = 300_000
# name, width and height in CSS pixels, dark, pixels per CSS pixel
PICTURES = (
    ("report.png", 1280, 2300, False, 0.9),
    ("report-dark.png", 1280, 1700, True, 0.9),
    ("report-phone.png", 360, 1560, False, 1.5),
)
MAPS = (("maps.png", 1280, 1900, False, 0.9), ("maps-phone.png", 360, 2600, True, 1.0))
ONLY_MAPS = "document.querySelectorAll('main > *').forEach(e => e.querySelector('#h-map') || e.remove()); 1"


def main(run: str) -> None:
    path = chromium.find()
    if path is None:
        raise SystemExit("error: no Chromium in PATH\n  remedy: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, chromium.Chromium(path) as browser:
        rendered = report(ROOT, run, Path(name), print)
        has_maps = rendered.verdict == "DIVERGED"
        for title, width, height, is_dark, scale in MAPS if has_maps else PICTURES:
            page = browser.page(width, is_dark=is_dark, scale=scale)
            page.open(rendered.documents["report.html"])
            if has_maps:
                page.run(ONLY_MAPS)
            picture = ROOT / "docs" / "pictures" / title
            page.picture(picture, height=height)
            size = picture.stat().st_size
            print(f"{picture.relative_to(ROOT)}: {size} bytes")
            if size > MAX_BYTES:
                raise SystemExit(f"error: {title} has {size} bytes, at most {MAX_BYTES} are wanted")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["tiny"]))
