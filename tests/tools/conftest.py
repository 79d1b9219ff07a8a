"""A browser, and packages that stand beside the harness's own."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests import ROOT
from tests.tools import chromium

PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]


def installed(name):
    """The folder with what a lock names, by its hashes; kept in the cache as long as the lock stays the same."""
    lock = ROOT / "lockfiles" / f"{name}.lock"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repro-harness-tests"
    folder = cache / f"{name}-{sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        verified = ["--require-hashes", "--only-binary", ":all:", "--target", str(folder), "-r", str(lock)]
        subprocess.run([*PIP, *verified], check=True, timeout=300)
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def tools():
    """axe-core and pypdfium2."""
    return installed("browser")


@pytest.fixture(scope="session")
def mkdocs():
    """What builds the site of docs/."""
    return installed("docs")


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium(chromium.find()) as found:
        yield found
