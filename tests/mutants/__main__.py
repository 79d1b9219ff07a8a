"""Certify the mutants and the clean controls, and write how often the answer was right to docs/benchmarks.md.

    HARNESS_PYTHON=python-with-torch python -m tests.mutants [ID ...] [--jobs N] [--table]
    RUNNER=docker python -m tests.mutants [ID ...]

Without ids all are run, which takes hours on two cores; ids may be beginnings (`A7`, `clean`). What a run said is kept
in runs/mutants/<id>.json, and the table counts all that were run. `--table` runs nothing. What is said in containers is
kept in runs/mutants-docker, and is not in the table.
"""

import argparse
import json
import os
import shutil
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import harness
from harness.errors import HarnessError
from tests import ROOT
from tests.mutants.catalogue import Mutant, read_catalogue
from tests.mutants.grading import OTHERS, Grade, exact_interval, grade

RUNNER = os.environ.get("RUNNER", "host")
FOLDER = ROOT / "runs" / ("mutants" if RUNNER == "host" else f"mutants-{RUNNER}")
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- mutants: begin, written by `make mutants` -->", "<!-- mutants: end -->"


def certify(mutant: Mutant, python: str) -> Grade:
    """Certify one in a checkout of its own, and keep what was said."""
    checkout = FOLDER / mutant.id
    shutil.rmtree(checkout, ignore_errors=True)
    mutant.checkout(checkout)
    try:
        result = harness.certify("training", root=checkout, runner=RUNNER, python=python or None)
        graded = grade(mutant, result.verdict, result.folder)
    except HarnessError as error:
        cause = None if mutant.is_clean else "unknown"
        said: dict[str, object] = {"verdict": "ERROR", "problems": [str(error)]}
        graded = Grade(mutant.id, mutant.is_clean, False, None if mutant.is_clean else False, cause, said, {})
    (FOLDER / f"{mutant.id}.json").write_text(graded.to_json() + "\n", encoding="utf-8")
    return graded


def kept(catalogue: dict[str, Mutant]) -> list[Grade]:
    """What was said of those that were run, in the catalogue's order."""
    paths = [FOLDER / f"{name}.json" for name in catalogue]
    return [Grade(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.is_file()]


def table(catalogue: dict[str, Mutant], grades: list[Grade]) -> str:
    """The benchmark's section of docs/benchmarks.md."""
    clean = [one for one in grades if one.is_clean]
    bugs = [one for one in grades if not one.is_clean]
    located = [one.located for one in bugs if one.located is not None]
    causes = Counter(one.cause for one in bugs)
    num_clean = sum(mutant.is_clean for mutant in catalogue.values())
    lines = [
        f"{len(bugs)} of {len(catalogue) - num_clean} mutants and {len(clean)} of {num_clean} clean controls were run.",
        "",
        "| figure | k of n | exact 95 % interval |",
        "|---|---|---|",
        _row("mutants caught", [one.caught for one in bugs]),
        _row("step and stream right, where there is one", located),
        *(_row(f"cause {name}", [one.cause == name for one in bugs]) for name in ("right", "partly", "unknown")),
        _row("cause wrong", [one.cause == "wrong" for one in bugs]),
        _row("clean controls certified", [one.caught for one in clean]),
        "",
        "What other checks see in the same outputs:",
        "",
        "| check | mutants seen | exact 95 % interval | clean controls passed |",
        "|---|---|---|---|",
    ]
    for name, words in OTHERS.items():
        seen = [one.others[name] for one in bugs if one.others]
        passed = [not one.others[name] for one in clean if one.others]
        lines.append(f"{_row(words, seen)} {sum(passed)} of {len(passed)} |")
    lines += [
        "",
        "| mutant | what is wrong | verdict | step and stream | cause | given as |",
        "|---|---|---|---|---|---|",
    ]
    for one in bugs:
        given = one.said.get("cause") or ["-"]
        where = {True: "right", False: "wrong", None: "-"}[one.located]
        words = f"{one.said['verdict']} | {where} | {one.cause} | {given[0]}"
        lines.append(f"| {one.id} | {catalogue[one.id].title} | {words} |")
    missed = [f"{one.id} ({catalogue[one.id].title}): {one.said['verdict']}" for one in clean if not one.caught]
    lines += ["", "Clean controls that were not certified: " + ("; ".join(missed) or "none") + "."]
    assert sum(causes.values()) == len(bugs)
    return "\n".join(lines)


def _row(name: str, hits: list[bool]) -> str:
    if not hits:
        return f"| {name} | 0 of 0 | |"
    low, high = exact_interval(sum(hits), len(hits))
    return f"| {name} | {sum(hits)} of {len(hits)} | {100 * low:.0f} to {100 * high:.0f} % |"


def write_table(text: str, page: Path = PAGE) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    catalogue = read_catalogue()
    chosen = [name for name in catalogue if not arguments.ids or name.startswith(tuple(arguments.ids))]
    python = os.environ.get("HARNESS_PYTHON", "")
    if not arguments.table:
        if not chosen or (RUNNER == "host" and not python):
            raise SystemExit("set HARNESS_PYTHON to an interpreter with torch and peft" if chosen else "no such mutant")
        FOLDER.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(arguments.jobs) as pool:
            start = time.monotonic()
            for future in as_completed([pool.submit(certify, catalogue[name], python) for name in chosen]):
                one = future.result()
                words = [
                    one.said["verdict"],
                    one.said.get("first"),
                    one.cause or "",
                    (one.said.get("cause") or [""])[0],
                ]
                print(f"{time.monotonic() - start:5.0f} s", "ok" if one.caught else "NO", one.id, *words, flush=True)
    if RUNNER == "host":
        write_table(table(catalogue, kept(catalogue)))


if __name__ == "__main__":
    main()
