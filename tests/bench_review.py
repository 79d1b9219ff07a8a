"""What a review takes: `make bench-review`. Whole processes, Python's start included; cold and unchanged alternate.

The tree is a copy of at most NUM_FILES Python files (1000 unless the environment says otherwise) of TREE, by default of
the standard library that runs this, which has some 600 that are no tests. Cold: an empty cache, every file is parsed
and judged. Unchanged: the same tree again. Beside them one process that only parses the same files with `ast.parse`,
which no review can do without. Medians over ROUNDS (3 unless the environment says otherwise); user and system time of a
review's processes together, and the largest one's peak memory.
"""

import ast
import os
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from harness.report.printer import text_table
from tests import ROOT

NUM_ROUNDS = int(os.environ.get("ROUNDS", "3"))
NUM_FILES = int(os.environ.get("NUM_FILES", "1000"))
TREE = Path(os.environ.get("TREE") or sysconfig.get_path("stdlib"))
LEFT_OUT = {"test", "tests", "idlelib", "site-packages", "dist-packages", "build", "dist", ".git", "lib2to3"}
PARSE = "import ast, sys\nfor path in sys.stdin.read().split('\\n'): ast.parse(open(path, 'rb').read())"
HEADER = ("", "seconds", "processor seconds", "peak MiB so far")


def sources():
    """The first Python files of TREE that a review reports on and that parse."""
    for path in sorted(TREE.rglob("*.py")):
        parts = path.relative_to(TREE).parts
        if not LEFT_OUT.isdisjoint(parts) or parts[-1].startswith("test_") or parts[-1].endswith("_test.py"):
            continue
        try:
            ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        yield path


def copy_tree(target):
    paths = [path for path, _ in zip(sources(), range(NUM_FILES), strict=False)]
    for path in paths:
        copy = target / path.relative_to(TREE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return [str(target / path.relative_to(TREE)) for path in paths]


def timed(command, environment, **options):
    """Seconds by the clock and of the processors, and the peak memory in MiB of the largest process so far."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, **options)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    assert done.returncode in (0, 4), done.stdout[-2000:]
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024


def main():
    measured = {"ast.parse alone, one process": [], "cold": [], "unchanged": []}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        paths = copy_tree(tree)
        review = [sys.executable, "-m", "harness", "review", str(tree)]
        for number in range(NUM_ROUNDS):
            environment = {**os.environ, "HARNESS_CACHE": str(Path(folder) / f"cache-{number}")}
            parse = [sys.executable, "-c", PARSE]
            measured["ast.parse alone, one process"].append(timed(parse, environment, input="\n".join(paths)))
            measured["cold"].append(timed(review, environment))
            measured["unchanged"].append(timed(review, environment))
        size_bytes = sum(Path(path).stat().st_size for path in paths)
    rows = [(name, *map(statistics.median, zip(*values, strict=True))) for name, values in measured.items()]
    num_cores = len(os.sched_getaffinity(0))
    print(f"{len(paths)} files, {size_bytes / 1e6:.1f} MB, {num_cores} processors, median of {NUM_ROUNDS}")
    print(text_table([(name, *(f"{value:.2f}" for value in values)) for name, *values in rows], HEADER))


if __name__ == "__main__":
    main()
