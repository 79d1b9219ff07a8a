"""Do to a certify what goes wrong in life, and write what came of it to docs/faults.md: `make faults`.

    python -m tests.faults [NAME ...] [--times N]
    RUNNER=host HARNESS_PYTHON=python-with-torch python -m tests.faults [NAME ...] [--times N]

Without names all faults are done, which takes hours on two cores: most go into `--times` kills, a minute each. What
came of one is kept in runs/faults/<runner>/<name>.json, and the table has all that are there. A row is wrong (and the
exit code 1) where a process, a container or a temporary folder stayed behind, where an answer had a traceback, or was
not what it should be.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import docker
import yaml

from harness.runs.container import LABEL
from tests import ROOT
from tests.project import Project, copy_project

RUNNER = os.environ.get("RUNNER", "docker")
FOLDER = ROOT / "runs" / "faults"
PAGE = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- faults: begin, written by `make faults` -->", "<!-- faults: end -->"
PATIENCE_S = 600
GONE_S = 20
"""How long what a killed harness started may take to end."""
PLAIN = yaml.safe_load((ROOT / "pipelines" / "experiments" / "plain.yaml").read_text(encoding="utf-8"))
BROKEN = ROOT / "tests" / "faults" / "broken.py"


@dataclass
class Row:
    """What came of a fault: of each time its verdict and exit code, what was kept, what stayed behind."""

    fault: str
    expected: str
    answers: list[str] = field(default_factory=list)
    sentence: str = ""
    kept: str = ""
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Scene:
    """A checkout with `plain` and what breaks it, and temporary files of its own."""

    def __init__(self, folder: Path) -> None:
        self.project: Project = copy_project(folder / "project")
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.mark = f"FAULTS_OF_{os.getpid()}_{time.monotonic_ns()}"

    def experiment(self, name: str, how: str = "", **changes: object) -> None:
        """An experiment like `plain`, whose training breaks as broken.py says."""
        (self.project.root / "pipelines" / "plain" / "broken.py").write_bytes(BROKEN.read_bytes())
        run, resume = PLAIN["run"], PLAIN["resume"]
        if how:
            run, resume = ([words[0], "pipelines/plain/broken.py", how, *words[2:]] for words in (run, resume))
        # What is broken is broken in a training that has nobody else's state: each experiment is another one.
        self.project.experiment(name, yaml.safe_dump({**PLAIN, "run": run, "resume": resume, **changes}))

    def start(self, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """A command of the harness in a process group of its own."""
        environment = {**os.environ, "TMPDIR": str(self.temporary), "RUNNER": RUNNER, self.mark: "1"}
        command = [*prefix, sys.executable, "-m", "harness", "--root", str(self.project.root), *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def answer(self, row: Row, process: subprocess.Popen[str], expected: tuple[str, ...], name: str) -> dict:
        """Wait for a command, and note its verdict; the verdict's document, or nothing."""
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            row.wrong.append(f"no answer in {PATIENCE_S} s")
            return {}
        lines = out.strip().splitlines()
        last = lines[-1] if lines and lines[-1].startswith("VERDICT") else "no verdict"
        said = f"{last.removeprefix('VERDICT: ')}, exit code {process.returncode}"
        row.answers.append(said)
        if "Traceback" in err or (process.returncode in (1, 70) and last == "no verdict"):
            row.wrong.append(f"{said}: {err.strip()[-300:]}")
        elif expected and said not in expected:
            row.wrong.append(f"{said} instead of {' or '.join(expected)}: {err.strip()[-300:]}")
        problem = next((line for line in reversed(err.splitlines()) if line.startswith("error: ")), "")
        path = self.project.latest(name) / "verdict.json"
        document = json.loads(path.read_text()) if path.is_file() else {}
        row.sentence = problem.removeprefix("error: ") or document.get("summary", "")
        return document

    def left_behind(self) -> list[str]:
        """What is still there of everything that this scene started."""
        deadline = time.monotonic() + GONE_S
        while (found := [*self._processes(), *self._containers(), *self._files()]) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def _processes(self) -> Iterator[str]:
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                words = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if self.mark.encode() in path.read_bytes() or str(self.project.root) in words:
                    yield f"process: {words[:80]}"

    def _containers(self) -> Iterator[str]:
        known = {path.name for path in (self.project.root / "runs").glob("*/*")}
        if RUNNER == "docker":
            with contextlib.closing(docker.from_env()) as client:
                for row in client.api.containers(all=True, filters={"label": LABEL}):
                    if row["Labels"][LABEL].partition("/")[0] in known:
                        yield f"container: {row['Labels'][LABEL]}"

    def _files(self) -> Iterator[str]:
        yield from (f"temporary file: {path.name}" for path in self.temporary.iterdir())


Done = Callable[[Scene, Row, int], None]
FAULTS: dict[str, tuple[str, str, Done]] = {}


def fault(words: str, expected: str) -> Callable[[Done], Done]:
    """One that is done: what happens, and what should come of it."""

    def note(done: Done) -> Done:
        FAULTS[done.__name__] = words, expected, done
        return done

    return note


CERTIFIED, INCONCLUSIVE = "CERTIFIED, exit code 0", "INCONCLUSIVE, exit code 3"


@fault("SIGKILL of the harness at a random moment", "nothing lives on; `--continue` gives the certificate")
def harness_killed(scene: Scene, row: Row, times: int) -> None:
    draw = random.Random(1)
    scene.experiment("killed")
    began = time.monotonic()
    scene.answer(row, scene.start("certify", "killed"), (CERTIFIED,), "killed")
    seconds = time.monotonic() - began
    kept = []
    for _ in range(times):
        process = scene.start("certify", "killed")
        time.sleep(draw.uniform(0.2, seconds))
        process.kill()
        process.communicate()
        # What is in the engine ends with the next command that uses it, which is this one.
        again = scene.start("certify", "killed", "--continue")
        scene.answer(row, again, (CERTIFIED, "no verdict, exit code 2"), "killed")
        if row.answers[-1] == CERTIFIED:
            kept.append(len(scene.project.verdict("killed").get("continued", ())))
        row.left += scene.left_behind()
    row.kept = f"of 5 trajectories {sum(kept) / max(1, len(kept)):.1f} were not repeated"


@fault("SIGTERM of the harness at a random moment", "an answer at once, nothing lives on")
def harness_ended(scene: Scene, row: Row, times: int) -> None:
    draw = random.Random(2)
    scene.experiment("ended")
    for _ in range(times):
        process = scene.start("certify", "ended")
        time.sleep(draw.uniform(2, 20))
        process.terminate()
        scene.answer(row, process, ("INCONCLUSIVE, exit code 130", "no verdict, exit code 130", CERTIFIED), "ended")
        row.left += scene.left_behind()


@fault("two certifies of one experiment at once", "both as if alone")
def two_at_once(scene: Scene, row: Row, times: int) -> None:
    scene.experiment("twice")
    for process in [scene.start("certify", "twice") for _ in range(2)]:
        scene.answer(row, process, (CERTIFIED,), "twice")
    row.left += scene.left_behind()


@fault("a training that hangs at its third step", "INCONCLUSIVE, and says where")
def hung(scene: Scene, row: Row, times: int) -> None:
    scene.experiment("hung", "hang", timeout_s=60)
    scene.answer(row, scene.start("certify", "hung"), (INCONCLUSIVE,), "hung")
    row.left += scene.left_behind()


@fault("a training that writes 10 GB of log", "as without it; the disk stays as it was")
def long_log(scene: Scene, row: Row, times: int) -> None:
    scene.experiment("log", "log")
    scene.answer(row, scene.start("certify", "log"), (CERTIFIED, INCONCLUSIVE), "log")
    size = sum(path.stat().st_size for path in scene.project.latest("log").rglob("log-*.txt"))
    row.kept = f"{size >> 20} MiB of log"
    if size > 1 << 30:
        row.wrong.append(f"{size >> 20} MiB of log were kept")
    row.left += scene.left_behind()


@fault("a training that takes all memory", "INCONCLUSIVE, and says so")
def memory(scene: Scene, row: Row, times: int) -> None:
    if RUNNER != "docker":
        row.answers.append("not tried: the host runner has no bound on memory")
        return
    scene.experiment("memory", "memory", memory_gib=1)
    scene.answer(row, scene.start("certify", "memory"), (INCONCLUSIVE,), "memory")
    row.left += scene.left_behind()


@fault("a training that leaves processes behind", "INCONCLUSIVE, they are ended")
def daemon(scene: Scene, row: Row, times: int) -> None:
    scene.experiment("daemon", "daemon")
    expected = (
        (INCONCLUSIVE,) if RUNNER == "host" else (INCONCLUSIVE, CERTIFIED)
    )  # a container ends with its first process
    scene.answer(row, scene.start("certify", "daemon"), expected, "daemon")
    row.left += scene.left_behind()


@fault("a training that fills the disk of its output", "INCONCLUSIVE, and says so; the disk is given back")
def too_much_output(scene: Scene, row: Row, times: int) -> None:
    scene.experiment("output", "output", output_gib=1)
    scene.answer(row, scene.start("certify", "output"), (INCONCLUSIVE,), "output")
    size = sum(path.stat().st_blocks * 512 for path in scene.project.latest("output").rglob("*") if path.is_file())
    row.kept = f"{size >> 20} MiB in the run's folder"
    row.left += scene.left_behind()


@fault("a disk that is full, from 4 MiB on a fifth larger each time", "an error that says so, in the end a certificate")
def disk_full(scene: Scene, row: Row, times: int) -> None:
    scene.experiment("full")
    runs, size = scene.project.root / "runs", 4 << 20
    runs.mkdir(exist_ok=True)
    while CERTIFIED not in row.answers and size < 1 << 30:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(runs)], check=True)
        try:
            scene.answer(row, scene.start("certify", "full"), (), "full")
            if row.answers[-1].startswith("DIVERGED"):
                row.wrong.append(f"{row.answers[-1]} at {size}")
            row.left += scene.left_behind()
        finally:
            subprocess.run(["umount", str(runs)], check=True)
        size += size // 5


@fault("the image removed while trainings run in it", "as without it, or an error that says so")
def image_removed(scene: Scene, row: Row, times: int) -> None:
    if RUNNER != "docker":
        row.answers.append("not tried: the host runner has no image")
        return
    scene.experiment("image")
    process = scene.start("certify", "image")
    runs = scene.project.root / "runs" / "image"
    deadline = time.monotonic() + PATIENCE_S
    while not list(runs.glob("*/straight/runs/1/ledger.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    with contextlib.closing(docker.from_env()) as client:
        known = {row["Image"] for row in client.api.containers(filters={"label": LABEL})}
        for image in known:
            with contextlib.suppress(docker.errors.APIError):
                client.images.remove(image, force=True)
    scene.answer(row, process, (CERTIFIED, "INCONCLUSIVE, exit code 5", INCONCLUSIVE), "image")
    row.left += scene.left_behind()


def do(name: str, times: int) -> Row:
    words, expected, done = FAULTS[name]
    row = Row(words, expected)
    with tempfile.TemporaryDirectory(prefix="faults-", dir=os.environ.get("FAULTS_DIR")) as folder:
        done(Scene(Path(folder)), row, times)
    path = FOLDER / RUNNER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(row), indent=1) + "\n", encoding="utf-8")
    return row


def table() -> str:
    """All that was done, as rows."""
    lines = ["| fault | runner | verdict and exit code | said or kept | left behind |", "|---|---|---|---|---|"]
    for name, (words, _, _) in FAULTS.items():
        for runner in ("docker", "host"):
            path = FOLDER / runner / f"{name}.json"
            if path.is_file():
                row = Row(**json.loads(path.read_text(encoding="utf-8")))
                answers = "; ".join(
                    f"{answer} ({num} times)" if num > 1 else answer for answer, num in Counter(row.answers).items()
                )
                said = "; ".join(filter(None, (row.sentence.replace("|", "/")[:160], row.kept)))
                lines.append(f"| {words} | {runner} | {answers} | {said} | {'; '.join(row.left[:3]) or 'nothing'} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--times", type=int, default=50, help="how often the harness is killed")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in FAULTS]:
        parser.error(f"no such fault: {unknown[0]}")
    is_wrong = False
    for name in arguments.names or FAULTS:
        began = time.monotonic()
        row = do(name, arguments.times)
        is_wrong |= bool(row.wrong or row.left)
        print(
            f"{time.monotonic() - began:5.0f} s",
            "NO" if row.wrong or row.left else "ok",
            name,
            dict(Counter(row.answers)),
        )
        print(
            "".join(f"        {text}\n" for text in (row.sentence, row.kept, *row.left, *row.wrong) if text),
            end="",
            flush=True,
        )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    sys.exit(is_wrong)


if __name__ == "__main__":
    main()
