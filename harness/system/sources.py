"""The harness's own files: where they lie, and the digests of their sources.

What was compiled of them here is no source: a version has the same digests with a C compiler and without.
"""

import functools
from pathlib import Path

import harness
from harness.documents.digest import Digest
from harness.system.store import tree_digest

SOURCES = Path(harness.__file__).resolve().parent
RECORDER = SOURCES / "recorder"
COMPILED = RECORDER / "ml128.so"


@functools.cache
def sources_digest() -> Digest:
    """The digest of the harness's own code, as manifests have it."""
    return tree_digest(SOURCES, without=COMPILED)


def recorder_digest() -> Digest:
    """The digest of the recorder, as manifests have it."""
    return tree_digest(RECORDER, without=COMPILED)
