"""Replays of real records: in a warm cache, with changed code, with a wheel that is gone, and from nothing."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import ROOT
from tests.project import Answer, Project, copy_certified

CHANGE = '    optimizer.zero_grad()\n    if step == 10:\n        optimizer.param_groups[0]["lr"] *= 1.5\n'
VANISHED = "vanished-1.0-py3-none-any.whl"


@dataclass(frozen=True)
class Certified:
    """A certified run of `plain`, and later commits: one alters numbers, one needs a wheel that is gone."""

    project: Project
    commit: str
    run: Path
    changed: str
    vanished: str

    def folders(self):
        return {path for path in (self.project.root / "runs" / "plain").iterdir() if not path.is_symlink()}

    def replay(self, *arguments, **environment):
        """Replay; the answer, and the verdict in the new folder, if there is one."""
        before = self.folders()
        answer = self.project.harness("replay", *arguments, **environment)
        (folder,) = self.folders() - before or {None}
        return answer, folder and json.loads((folder / "verdict.json").read_text()), folder


def head(project):
    done = subprocess.run(
        ["git", "-C", str(project.root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def certified(certified_plain, tmp_path_factory):
    project = copy_certified(certified_plain[0], tmp_path_factory.mktemp("replay") / "project")
    commit, run = head(project), project.latest("plain")
    script = project.root / "pipelines" / "plain" / "train.py"
    script.write_text(script.read_text().replace("    optimizer.zero_grad()\n", CHANGE))
    project.commit("another learning rate from step 11 on")
    changed = head(project)
    lock = project.root / "lockfiles" / "cpu.lock"
    pin = "vanished==1.0 --hash=sha256:" + "ab" * 32
    lock.write_text(f"{lock.read_text()}{pin}\n# wheel vanished {VANISHED} 1000 sha256:{'ab' * 32}\n")
    project.commit("a wheel that nobody has")
    return Certified(project, commit, run, changed, head(project))


@pytest.fixture
def empty_index():
    """An index that has nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


@pytest.mark.engine
def test_a_commit_is_replayed_and_gives_the_same_bits(certified):
    answer, verdict, folder = certified.replay(certified.commit[:9])
    assert answer.code == 0, answer.out + answer.err
    assert answer.last_line == "VERDICT: CERTIFIED" and verdict["kind"] == "replay"
    assert verdict["replay"]["record"]["run_id"] == certified.run.name
    assert (verdict["replay"]["tier"], verdict["replay"]["image"]["equal"]) == ("same machine", True)
    assert verdict["compared"]["steps"] == 20 and len(verdict["files"]) == 7 and verdict["final_state_equal"] is True
    assert certified.project.latest("plain") == certified.run, "`latest` is not moved"
    one, two = (path / "straight" / "runs" / "1" / "ledger.jsonl" for path in (certified.run, folder))
    assert one.read_bytes() == two.read_bytes() == (folder / "record/straight/runs/1/ledger.jsonl").read_bytes()
    certificate = json.loads((folder / "certificate.json").read_text())
    assert certificate["predicate"]["claims"] == ["BITWISE_EQUAL_REPLAY"]
    assert certificate["predicate"]["replay"]["tier"] == "same machine"
    assert certified.project.harness("verify", str(folder)).code == 0


@pytest.mark.engine
def test_a_code_change_that_alters_numbers_diverges_at_its_step(certified):
    answer, verdict, _ = certified.replay(certified.commit, "plain", AGAINST=certified.changed)
    assert (answer.code, answer.last_line) == (1, "VERDICT: DIVERGED"), answer.out + answer.err
    first = verdict["first_divergence"]
    # The learning rate is changed after step 10; the first step that is taken with it is recorded as step 12's.
    assert (first["check"], first["stream"], first["step"], first["tensor"]) == ("replay", "lr", 12, "optimizer0.0.lr")
    assert verdict["commit"] == verdict["replay"]["against"] == certified.changed
    assert verdict["replay"]["code_changes"] == ["pipelines/plain/train.py"]
    assert verdict["cause"]["class"] == "code_changed"


@pytest.mark.engine
def test_the_steps_before_the_change_are_certified_as_a_prefix(certified):
    answer, verdict, _ = certified.replay(certified.commit, "--against", certified.changed, "--steps", "5")
    assert answer.code == 0, answer.out + answer.err
    assert answer.last_line == "VERDICT: CERTIFIED (the first 5 of 20 steps)" and verdict["compared"]["steps"] == 5
    assert certified.project.harness("replay", certified.commit, "--steps", "21").code == 2


@pytest.mark.engine
def test_a_wheel_that_is_gone_stops_it_before_anything_is_built(certified, empty_index):
    environment = {"AGAINST": certified.vanished, "PIP_INDEX_URL": empty_index, "PIP_EXTRA_INDEX_URL": ""}
    answer = certified.project.harness("replay", certified.commit, "--preflight", **environment)
    assert answer.code == 6, answer.out + answer.err
    (gone,) = [line for line in answer.out.splitlines() if VANISHED in line]
    assert gone.startswith("gone") and "wheel" in gone and "127.0.0.1" in gone
    assert "--full" in answer.out and answer.last_line.startswith("PREFLIGHT: it cannot be replayed here")
    answer, verdict, folder = certified.replay(certified.commit, **environment)
    assert (answer.code, verdict["verdict"], verdict["exit_code"]) == (6, "INCONCLUSIVE", 6), answer.err
    assert VANISHED in verdict["summary"] and not (folder / "straight").exists()
    assert [need["name"] for need in verdict["replay"]["preflight"] if need["state"] == "gone"] == [VANISHED]


@pytest.mark.engine
def test_a_record_that_was_changed_is_tampered_and_nothing_is_run(certified, tmp_path):
    copy = tmp_path / certified.run.name
    shutil.copytree(certified.run, copy, symlinks=True)
    ledger = copy / "straight" / "runs" / "1" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"step":3,', b'"step":4,', 1))
    answer, verdict, _ = certified.replay(str(copy))
    assert (answer.code, answer.last_line, verdict) == (5, "VERDICT: TAMPERED", None), answer.err


@pytest.mark.engine
def test_against_a_commit_that_lacks_the_experiment_the_error_names_that_commit(certified):
    certified.project.git("rm", "-q", "pipelines/experiments/plain.yaml")
    certified.project.commit("no such experiment any more")
    without = head(certified.project)
    certified.project.git("reset", "-q", "--hard", "HEAD~1")
    answer = certified.project.harness("replay", certified.commit, "--against", without, "--preflight")
    assert answer.code == 2 and f"at commit {without}: there is no experiment 'plain'" in answer.err, answer.err


def test_commits_without_a_record_are_refused_with_a_remedy(shared_project):
    for name in ("0123456", "nothing", "HEAD", "../x.oci.tar", "-1"):
        answer = shared_project.harness("replay", "--", name)
        assert answer.code == 2 and "remedy:" in answer.err, answer.err


def published(certified, tmp_path):
    """A key, the run published and archived in full; where the key and the archive are."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    archive = tmp_path / "plain.oci.tar"
    for arguments in (
        ("key", "create", "tester"),
        ("archive", str(certified.run), "--manifest"),
        ("archive", str(certified.run), "--full", "--output", str(archive)),
    ):
        answer = certified.project.harness(*arguments, **environment)
        assert answer.code == 0, answer.out + answer.err
    return environment, archive


@pytest.mark.engine
@pytest.mark.slow
def test_a_clone_with_empty_caches_replays_what_was_published(certified, tmp_path):
    environment, _ = published(certified, tmp_path)
    certified.project.commit("the manifest")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(certified.project.root), str(clone)], check=True)
    environment["HARNESS_CACHE"] = str(tmp_path / "cache")
    answer = Project(clone).harness("replay", certified.commit, timeout=3600, **environment)
    assert (answer.code, answer.last_line) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    (folder,) = (path for path in (clone / "runs" / "plain").iterdir())
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["replay"]["record"]["source"].startswith("manifests/plain/")
    assert verdict["replay"]["record"]["key"] == "tester"
    assert verdict["checks"]["rebuild"]["verdict"] == "CERTIFIED"


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="taking the network away needs root")
def test_a_full_archive_is_replayed_without_any_network(certified, tmp_path):
    environment, archive = published(certified, tmp_path)
    environment |= {
        "HARNESS_CACHE": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "HARNESS_DEBIAN_MIRROR": "http://127.0.0.1:9/debian",
    }
    here = tmp_path / "elsewhere"
    here.mkdir()
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "harness", "--root", str(here), "replay", str(archive)],
        capture_output=True,
        text=True,
        timeout=3600,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    answer = Answer(done.returncode, done.stdout, done.stderr)
    assert (answer.code, answer.last_line) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    (folder,) = (here / "runs" / "plain").iterdir()
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["checks"]["rebuild"]["verdict"] == "CERTIFIED" and verdict["replay"]["image"]["equal"] is True
    assert {need["state"] for need in verdict["replay"]["preflight"]} == {"present"}
