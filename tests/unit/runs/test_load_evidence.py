"""Evidence is read from folders that a hostile process may have written."""

import json
import os
import shutil

import pytest

from harness.errors import EvidenceError
from harness.judge.diff import compare_run
from harness.judge.verdict import judge
from harness.runs import load_evidence
from harness.runs.load_evidence import load_trajectory
from harness.system import safe_read as safe_read_module
from harness.system.files import FolderFiles
from harness.system.safe_read import safe_read
from tests.made.synthetic import KILL, Files, Process, Quirks, State, canonical, case, chain, record_of, restore

OUTPUTS, CHECKPOINTS, VOLATILE = ("adapter.safetensors", "metrics.jsonl"), ("checkpoints/*.safetensors",), ("seconds",)


def write_run(folder, number, process, torn=b""):
    own = folder / "runs" / str(number)
    own.mkdir(parents=True)
    (own / "ledger.jsonl").write_bytes(chain(process.ledger) + torn)
    (own / "events.jsonl").write_bytes(chain(process.events))
    (own / "tensors.jsonl").write_bytes(b"".join(canonical(line) + b"\n" for line in process.sidecar))
    (own / "progress.jsonl").write_bytes(b'{"loss":1.5,"step":1}\n')


def write_output(folder, files):
    for path, data in files.files.items():
        if isinstance(data, bytes):
            target = folder / "output" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def write_straight(folder, name="straight"):
    files, process = Files(), None
    process = Process(files)
    process.train(State())
    write_run(folder / name, 1, process)
    write_output(folder / name, files)
    return load(folder, name)


def load(folder, name="straight", records=None):
    records = records or (record_of(name, 1, None),)
    return load_trajectory(folder / name, name, records, OUTPUTS, CHECKPOINTS, VOLATILE)


def test_trajectories_on_disk_are_certified(tmp_path):
    straight, rerun = write_straight(tmp_path), write_straight(tmp_path, "rerun")
    files = Files()
    first = Process(files)
    first.train(State(), KILL)
    write_run(tmp_path / "resumed", 1, first, torn=b'{"kin')
    second = Process(files, Quirks(), [first.ledger])
    second.train(restore(files, Quirks()))
    write_run(tmp_path / "resumed", 2, second)
    write_output(tmp_path / "resumed", files)
    resumed = load(tmp_path, "resumed", (record_of("resumed", 1, KILL), record_of("resumed", 2, None)))
    verdict = judge(case(straight=straight, rerun=rerun, resumed=resumed))
    assert verdict.verdict == "CERTIFIED", verdict.problems
    assert resumed.runs[0].ledger.torn
    assert [(f.path, f.role) for f in straight.files] == [
        ("adapter.safetensors", "output"),
        ("checkpoints/step2.safetensors", "checkpoint"),
        ("checkpoints/step4.safetensors", "checkpoint"),
        ("checkpoints/step6.safetensors", "checkpoint"),
        ("checkpoints/step8.safetensors", "checkpoint"),
        ("metrics.jsonl", "output"),
    ]
    assert straight.runs[0].progress[0].loss == 1.5


def replaced(path, how):
    path.unlink()
    how(path)


@pytest.mark.parametrize("name", ["ledger.jsonl", "events.jsonl", "tensors.jsonl", "progress.jsonl"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda p: p.mkdir(), "no regular file"),
        (lambda p: os.mkfifo(p), "no regular file"),
        (lambda p: p.symlink_to("/etc/passwd"), "links are not followed"),
        (lambda p: p.symlink_to(p.name), "links are not followed"),
        (lambda p: p.write_bytes(b"\x00" * 100), "torn last line|line 1"),
        (lambda p: p.write_bytes(b"[1]\n"), "line 1"),
    ],
    ids=["folder", "fifo", "link", "loop", "zeros", "list"],
)
def test_hostile_evidence_becomes_a_problem_in_words(tmp_path, name, how, words):
    write_straight(tmp_path)
    replaced(tmp_path / "straight" / "runs" / "1" / name, how)
    run = load(tmp_path).runs[0]
    assert run.problem is not None
    assert any(word in run.problem for word in words.split("|")), run.problem
    assert judge(case(straight=load(tmp_path))).verdict == "INCONCLUSIVE"


def test_a_missing_or_empty_ledger_is_named(tmp_path):
    write_straight(tmp_path)
    ledger = tmp_path / "straight" / "runs" / "1" / "ledger.jsonl"
    ledger.write_bytes(b"")
    assert load(tmp_path).runs[0].problem == "straight/1 left an empty ledger"
    ledger.unlink()
    assert load(tmp_path).runs[0].problem == "straight/1 left no ledger (1/ledger.jsonl is missing)"


def test_a_missing_run_folder_or_output_is_named(tmp_path):
    (tmp_path / "straight").mkdir()
    trajectory = load(tmp_path)
    assert trajectory.runs[0].ledger is None and trajectory.runs[0].problem
    assert trajectory.problems == ("straight: there is no folder output",)


def test_a_second_process_that_trained_is_noticed(tmp_path):
    write_straight(tmp_path)
    own = tmp_path / "straight" / "runs" / "1"
    (own / "ledger-2.jsonl").write_bytes((own / "ledger.jsonl").read_bytes())
    assert load(tmp_path).runs[0].extra_ledgers == ("ledger-2.jsonl",)


def test_a_process_that_called_a_model_and_made_no_step_is_no_second_training(tmp_path):
    """It may come before the training (features) or after it (an evaluation)."""
    write_straight(tmp_path)
    own = tmp_path / "straight" / "runs" / "1"
    before = load(tmp_path).runs[0]
    for name in ("ledger", "events", "tensors", "progress"):
        if (own / f"{name}.jsonl").exists():
            (own / f"{name}.jsonl").rename(own / f"{name}-2.jsonl")
    start = before.ledger_bytes.splitlines(keepends=True)[0]
    (own / "ledger.jsonl").write_bytes(start)
    (own / "events.jsonl").write_bytes(b"")
    (own / "ledger-3.jsonl").write_bytes(start)
    after = load(tmp_path).runs[0]
    assert after.extra_ledgers == ()
    assert (after.ledger.steps, after.events) == (before.ledger.steps, before.events)


def test_each_rank_is_read_from_its_own_files(tmp_path):
    write_straight(tmp_path)
    own = tmp_path / "straight" / "runs" / "1"
    for path in list(own.iterdir()):
        stem, suffix = path.name.split(".")
        shutil.copy(path, own / f"{stem}-rank1.{suffix}")
    (own / "ledger-rank3.jsonl").write_bytes(b"{")
    run = load(tmp_path).runs[0]
    assert [(one.rank, one.name) for one in run.ranks] == [(1, "straight/1, rank 1"), (3, "straight/1, rank 3")]
    assert run.ranks[0].ledger.steps == run.ledger.steps
    assert run.ranks[1].ledger is None and "ledger-rank3" in run.ranks[1].problem


def test_an_output_folder_that_is_a_link_is_not_entered(tmp_path):
    write_straight(tmp_path)
    output = tmp_path / "straight" / "output"
    output.rename(tmp_path / "elsewhere")
    output.symlink_to(tmp_path / "elsewhere")
    assert load(tmp_path).problems == ("straight: there is no folder output",)


@pytest.mark.parametrize("how", [lambda p: p.symlink_to("/etc/passwd"), lambda p: os.mkfifo(p)], ids=["link", "fifo"])
def test_a_declared_output_that_is_no_regular_file_is_a_problem(tmp_path, how):
    write_straight(tmp_path)
    replaced(tmp_path / "straight" / "output" / "adapter.safetensors", how)
    trajectory = load(tmp_path)
    assert trajectory.problems == ("straight: output/adapter.safetensors is no regular file, so it is not read",)
    assert all(file.path != "adapter.safetensors" for file in trajectory.files)


def test_a_link_in_the_middle_of_a_path_is_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "real")
    with pytest.raises(EvidenceError, match=r"link|cannot be opened"):
        safe_read(tmp_path / "root", "folder/file", max_bytes=10)


@pytest.mark.parametrize("path", ["../real/file", "/etc/passwd", "a//b", "./a", ""])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path, path):
    with pytest.raises(EvidenceError, match="leaves its folder"):
        safe_read(tmp_path, path, max_bytes=10)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(EvidenceError, match="at most 1024 are read"):
        safe_read(tmp_path, "big", max_bytes=1024)
    write_straight(tmp_path)
    ledger = tmp_path / "straight" / "runs" / "1" / "ledger.jsonl"
    os.truncate(ledger, 2 << 30)
    assert "at most" in load(tmp_path).runs[0].problem


def test_a_torn_checkpoint_is_a_problem_of_that_file_alone(tmp_path):
    write_straight(tmp_path)
    os.truncate(tmp_path / "straight" / "output" / "checkpoints" / "step4.safetensors", 30)
    trajectory = load(tmp_path)
    torn = trajectory.file("checkpoints/step4.safetensors")
    assert torn.content is None and "malformed" in torn.problem and trajectory.problems == ()


def test_files_with_equal_bytes_are_read_once(tmp_path, monkeypatch):
    write_straight(tmp_path), write_straight(tmp_path, "rerun")
    count, honest = [], load_evidence.read_content
    monkeypatch.setattr(
        load_evidence, "read_content", lambda *args, **how: count.append(args[0]) or honest(*args, **how)
    )
    known = {}
    one, two = (
        load_trajectory(tmp_path / name, name, (record_of(name, 1, None),), OUTPUTS, CHECKPOINTS, VOLATILE, known)
        for name in ("straight", "rerun")
    )
    assert len(count) == 6 and [f.content for f in one.files] == [f.content for f in two.files]


def test_too_many_files_are_a_problem(tmp_path, monkeypatch):
    write_straight(tmp_path)
    monkeypatch.setattr(safe_read_module, "MAX_ENTRIES", 5)
    assert "more than 5 files" in load(tmp_path).problems[0]


def test_names_that_no_manifest_can_list_are_a_problem(tmp_path, monkeypatch):
    write_straight(tmp_path)
    monkeypatch.setattr(load_evidence, "MAX_LISTED_BYTES", 20)
    straight = load(tmp_path)
    assert straight.files == () and "more than the 20 that a manifest can list" in straight.problems[0]


def test_too_many_levels_are_a_problem(tmp_path):
    write_straight(tmp_path)
    (tmp_path / "straight" / "output" / "/".join("d" * 40)).mkdir(parents=True)
    assert "32 levels" in load(tmp_path).problems[0]


def test_names_that_are_no_text_do_no_harm(tmp_path):
    write_straight(tmp_path)
    os.mkfifo(os.fsencode(tmp_path / "straight" / "output" / "checkpoints") + b"/\xff.safetensors")
    (problem,) = load(tmp_path).problems
    assert problem.encode("utf-8") and "udcff.safetensors is no regular file" in problem


@pytest.mark.parametrize(
    ("glob", "path", "is_match"),
    [
        ("*.pt", "a.pt", True),
        ("*.pt", "b/a.pt", False),
        ("**/*.pt", "a.pt", True),
        ("**/*.pt", "b/c/a.pt", True),
        ("b/*", "b/a.pt", True),
        ("b/*", "b/c/a.pt", False),
        ("b/**", "b/c/a.pt", True),
        ("*.pt", ".tmp.pt", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a+[1].pt", "a+[1].pt", True),
        ("a.pt", "aXpt", False),
        ("*_loss*.pt", "tiny_epoch1_loss0.5.pt", True),
    ],
)
def test_globs_stay_within_their_folder(glob, path, is_match):
    assert (load_evidence._pattern(glob).fullmatch(path) is not None) == is_match


class Truncating(FolderFiles):
    """A folder in which a file becomes shorter as soon as it was opened."""

    def read(self, path, *, max_bytes):
        opened = super().read(path, max_bytes=max_bytes)
        os.truncate(self.root / path, 1)
        return opened

    def below(self, folder):
        return Truncating(self.root / folder)


def test_a_file_that_is_cut_while_it_is_read_is_a_problem_of_that_file(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "a.txt").write_text("text")
    (file,) = load_trajectory(Truncating(tmp_path), "straight", (), ["*.txt"]).files
    assert file.content is None and file.sha256 is None and "became shorter" in file.problem


def test_a_checkpoint_is_known_by_any_name_that_it_gets(tmp_path):
    rows = [
        {"kind": "save_begin", "path": "losses.pt", "step": 1},
        {"kind": "save_begin", "path": "part/model.pt", "step": 2},
        {"kind": "save_begin", "path": "adapter.safetensors", "step": 2},
        {"kind": "move", "source": "part", "path": "new"},
        {"kind": "move", "source": "new/model.pt", "path": "checkpoints/2.safetensors"},
    ]
    (tmp_path / "straight" / "output").mkdir(parents=True)
    (tmp_path / "straight" / "runs" / "1").mkdir(parents=True)
    (tmp_path / "straight" / "runs" / "1" / "events.jsonl").write_bytes(chain(rows))
    assert load(tmp_path).checkpoints == {"part/model.pt"}


def test_a_ledger_that_names_no_digest_has_sm128_and_is_not_compared_with_another_kind(tmp_path):
    new = write_straight(tmp_path)
    ledger = tmp_path / "straight" / "runs" / "1" / "ledger.jsonl"
    records = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    ledger.write_bytes(chain([{k: v for k, v in r.items() if k not in ("digest", "chain")} for r in records]))
    old = load(tmp_path)
    found = [{t.digest.algorithm for f in one.files for t in f.content.tensors} for one in (new, old)]
    assert found == [{"ml128"}, {"sm128"}]
    compared = compare_run(old, new, 1)
    assert compared.differences == () and "two kinds, sm128 and ml128" in compared.problems[0]
