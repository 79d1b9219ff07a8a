"""README.txt: what somebody who was given an archive, or a run's folder, reads first."""

from __future__ import annotations

import textwrap

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.text import line
from harness.report.view import View

_WIDTH = 100
_TEXT = """\
What a training left behind, and what it shows: {title}, commit {commit}.

VERDICT: {verdict}
{summary}

Open report.html in a browser; verdict.json says the same to programs. In an archive these files come
first, and all others lie under their digests in blobs/. What is here was written by repro-harness {version}:

    pip install repro-harness
    harness verify FILE     recompute every digest, the signature and the verdict; nothing is trained
    harness extract FILE    take all files out, under their names
    harness replay FILE     train again and compare bit for bit (pip install 'repro-harness[certify]')
"""


def render_readme(verdict: Verdict, manifest: Manifest | None) -> str:
    """The page of a verdict, as plain text."""
    view = View(verdict, manifest)
    return _TEXT.format(
        title=view.title,
        commit=line(view.commit),
        verdict=view.verdict.verdict,
        summary=textwrap.fill(line(view.verdict.summary), _WIDTH, break_on_hyphens=False),
        version=line(view.manifest.harness.version) if view.manifest else "",
    )
