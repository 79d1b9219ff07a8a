"""The Dockerfile on a base of a registry: the stock one's steps, wherever its Python lies."""

import re

from harness.documents.dockerfile import read_base
from harness.scaffold.base import dockerfile
from tests import ROOT

BASE = "python:3.12-slim@sha256:" + "a" * 64


def test_it_stands_on_the_base_and_the_page_shows_it():
    text = dockerfile(BASE)
    assert read_base(text, "x").pull == f"python@sha256:{'a' * 64}"
    assert not re.search(r"/usr/lib/python3", text)
    page = (ROOT / "docs" / "guide" / "images.md").read_text()
    shown = text[text.index("FROM ") :].replace("a" * 64, "…")
    assert f"```dockerfile\n{shown}```" in page
