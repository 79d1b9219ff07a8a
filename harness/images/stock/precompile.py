"""Compile Python's sources to bytecode, so that the same sources always give the same bytes.

    precompile.py FOLDER ...

The `.pyc` hold a hash of their source instead of its time and are never checked, because an image's files do not
change. Packages' own tests are left out: nothing imports them. What the marshal format writes depends on what else the
process has interned (python/cpython issue 78274): so the sorted files are dealt out to a fixed number of shares, and
each share is compiled by a fresh process, in order, however many run at once.
"""

import importlib.util
import multiprocessing
import os
import py_compile
import sys
from pathlib import Path

NUM_SHARES = 32
TEST_FOLDERS = {"test", "tests"}


def compile_share(share: list[str]) -> int:
    """Compile some sources; the number of those that are no valid Python, like templates."""
    num_failed = 0
    for source in share:
        try:
            py_compile.compile(
                source,
                cfile=importlib.util.cache_from_source(source),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                quiet=2,
            )
        except (py_compile.PyCompileError, UnicodeDecodeError, RecursionError):
            num_failed += 1
    return num_failed


def main() -> None:
    """Compile what lies below the folders that are given as arguments."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        sys.exit("set PYTHONHASHSEED=0: the order of a constant set depends on it")
    paths = sorted(path for folder in sys.argv[1:] for path in Path(folder).rglob("*.py") if not path.is_symlink())
    sources = [str(path) for path in paths if not TEST_FOLDERS.intersection(path.parts)]
    shares = [sources[index::NUM_SHARES] for index in range(NUM_SHARES)]
    with multiprocessing.get_context("fork").Pool(maxtasksperchild=1) as pool:
        num_failed = sum(pool.imap(compile_share, shares, chunksize=1))
    sys.stdout.write(f"compiled {len(sources) - num_failed} files, {num_failed} are no valid Python\n")


if __name__ == "__main__":
    main()
