import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.documents.verdict import UnreadFile
from harness.errors import UsageError
from harness.review import review_tree as review_module
from harness.review import tasks
from harness.review.code import analysis
from harness.review.finding import Finding, Place, Showing, StaticReview
from harness.review.processes import Processes
from harness.review.programs import review
from harness.review.review_tree import review_tree
from harness.review.source_tree import list_tree
from harness.system.project import STOCK
from harness.system.store import Store
from tests import ROOT

WRONG = "# harness: allow REP001\n"  # an allow comment without a reason: a finding that needs no other rule


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def places(found):
    return [(one.rule, str(one.place)) for one in found.findings]


def reasons(found):
    return {one.path: one.reason for one in found.unread}


def in_this_process(root, *entries, **options):
    return review_tree(root, entries or None, num_workers=0, **options)


def reviewed_by(tree, **options):
    with Processes(tree, **options) as processes:
        return review(tree, None, progress=lambda text: None, processes=processes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"def f(:\n", "no valid Python: invalid syntax, line 1"),
        ("name = 'Jos\xe9'\n".encode("latin-1"), "not in the encoding that it declares"),
        (b"# coding: klingon\n", "unknown encoding: klingon"),
        ("x = 1\n".encode("utf-16"), "null bytes"),
        (b"x = 1\0\n", "null bytes"),
        (b"x = '" + b"a" * (5 << 20) + b"'\n", "5.2 MB: more than 4 MiB are not read"),
        (b"x = " + b"(" * 100_000 + b")" * 100_000, "too many nested parentheses"),
        (b"x = " + b"-" * 100_000 + b"1", "nested too deeply"),
        (b"x = a" + b".b" * 20_000, "nested too deeply"),
        (b"x = 1" + b" + 1" * 20_000, "nested too deeply"),
        (b"if a:\n pass\n" + b"elif a:\n pass\n" * 5_000, "nested too deeply"),
    ],
    ids=[
        "syntax",
        "latin-1",
        "unknown encoding",
        "utf-16",
        "null byte",
        "too large",
        "parentheses",
        "minus",
        "attributes",
        "sum",
        "elif",
    ],
)
def test_a_file_that_cannot_be_read_is_told_and_the_others_are_reviewed(tmp_path, content, reason):
    found = in_this_process(write(tmp_path, {"bad.py": content, "good.py": WRONG}))
    assert reason in reasons(found)["bad.py"]
    assert places(found) == [("REP001", "good.py:1")]
    assert found.num_files == 2


@pytest.mark.parametrize(
    "content",
    [
        b"# -*- coding: latin-1 -*-\nname = 'Jos\xe9'\n" + WRONG.encode(),
        b"\xef\xbb\xbfname = 1\n\n" + WRONG.encode(),
        b"name = 1\r\rname = 2\r" + WRONG.encode(),
    ],
    ids=["declared latin-1", "byte order mark", "old line ends"],
)
def test_other_encodings_are_read(tmp_path, content):
    found = in_this_process(write(tmp_path, {"a.py": content}))
    assert found.unread == ()
    assert [rule for rule, _ in places(found)] == ["REP001"]


def test_nothing_of_the_reviewed_code_is_run_or_imported(tmp_path, monkeypatch):
    mark = tmp_path / "ran"
    evil = f"open({str(mark)!r}, 'w').write('ran')\n"
    names = ["ast.py", "json.py", "sitecustomize.py", "setup.py", "harness/__init__.py"]
    names.append("harness/review/review_tree.py")
    root = write(tmp_path / "tree", {**dict.fromkeys(names, evil), "conftest.py": evil, "a.py": evil + WRONG})
    monkeypatch.chdir(root)
    found = review_tree(root, num_workers=2)
    assert places(found) == [("REP001", "a.py:2")]
    assert not mark.exists()


def test_links_pipes_and_devices_are_told_and_never_opened(tmp_path):
    root = write(tmp_path / "tree", {"a.py": "x = 1\n", "package/b.py": "x = 1\n"})
    (tmp_path / "elsewhere").mkdir()
    os.symlink("..", root / "package" / "loop")
    os.symlink(tmp_path / "elsewhere", root / "out")
    os.symlink("a.py", root / "alias.py")
    os.symlink("self.py", root / "self.py")
    os.mkfifo(root / "pipe.py")
    os.mkfifo(root / "requirements.txt")
    found = in_this_process(root)
    assert reasons(found) == {
        "out": "a link out of the tree: not followed",
        "pipe.py": "no regular file: not opened",
        "requirements.txt": "no regular file: not opened",
        "self.py": "a link that leads nowhere",
    }


def test_names_that_cannot_be_printed_are_told_escaped(tmp_path):
    write(tmp_path, {"new\nline.py": "x = 1\n", "folder\x1b[31m/a.py": "x = 1\n"})
    with open(os.fsencode(tmp_path) + b"/caf\xe9.py", "wb") as stream:
        stream.write(b"x = 1\n")
    found = in_this_process(tmp_path)
    assert sorted(reasons(found)) == ["caf\\udce9.py", "folder\\x1b[31m", "new\\nline.py"]


@pytest.fixture
def open_folder():
    """A folder that any user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_may_not_be_read_is_told(open_folder):
    root = write(open_folder, {"closed/a.py": "x = 1\n", "shut.py": "x = 1\n", "open.py": WRONG})
    (root / "closed").chmod(0)
    (root / "shut.py").chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        found = in_this_process(root)
    finally:
        if is_root:
            os.seteuid(0)
        (root / "closed").chmod(0o755)
    assert reasons(found) == {
        "closed/": "cannot be read: Permission denied",
        "shut.py": "cannot be read: Permission denied",
    }
    assert places(found) == [("REP001", "open.py:1")]


def test_a_file_that_changes_or_vanishes_meanwhile_is_told(tmp_path):
    tree = list_tree(write(tmp_path, {"gone.py": WRONG, "new.py": WRONG, "same.py": WRONG}))
    (tmp_path / "gone.py").unlink()
    (tmp_path / "new.py").write_text("x = 2\n")
    found = reviewed_by(tree, num_workers=0)
    assert reasons(found) == {
        "gone.py": "cannot be read: No such file or directory",
        "new.py": "it changed while it was reviewed",
    }
    assert places(found) == [("REP001", "same.py:1")]


def test_processes_find_what_this_one_finds(tmp_path):
    files = {f"package/m{number}.py": f"import package.m{number + 1}\n{WRONG}" for number in range(60)}
    root = write(tmp_path, {**files, "package/__init__.py": "", "train.py": f"import package.m0\n{WRONG}"})
    here = in_this_process(root)
    assert len(here.findings) == 61
    assert review_tree(root, num_workers=2) == here
    assert review_tree(root, num_workers=1) == here


UNPICKLED = "import torch\nprint(torch.load('a.pt', weights_only=False))\n"
SLOW = b"x = [" + b"0," * 1_900_000 + b"]\n"  # seconds to parse, and a gigabyte


@contextlib.contextmanager
def killed(times):
    """Kill processes that read the large file, so often: only they get that large."""
    is_over, size_bytes, count = threading.Event(), psutil.Process().memory_info().rss, 0

    def watch():
        nonlocal count
        while not is_over.is_set() and count < times:
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.memory_info().rss > size_bytes + (100 << 20):
                        child.kill()
                        child.wait()
                        count += 1
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_a_file_that_takes_too_long_is_told_and_the_others_go_on(tmp_path):
    files = {"slow.py": SLOW, "also.py": f"import slow\n{UNPICKLED}", "good.py": WRONG}
    found = reviewed_by(list_tree(write(tmp_path, files)), num_workers=1, limit_s=0.5)
    assert reasons(found) == {"slow.py": "not reviewed within 0.5 s"}
    assert places(found) == [("REP405", "also.py:3"), ("REP001", "good.py:1")]


def test_a_file_that_takes_too_much_memory_is_told_and_the_others_go_on(tmp_path):
    files = {"large.py": SLOW, "user.py": f"import large\n{WRONG}", "good.py": WRONG}
    size_bytes = psutil.Process().memory_info().vms
    found = reviewed_by(list_tree(write(tmp_path, files)), num_workers=1, memory_bytes=size_bytes + (500 << 20))
    assert list(reasons(found)) == ["large.py"]
    assert places(found) == [("REP001", "good.py:1"), ("REP001", "user.py:2")]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_process_that_is_killed_costs_the_file_that_it_read_and_no_other(tmp_path, num_workers):
    files = {f"m{number:02}.py": WRONG for number in range(50)}
    tree = list_tree(write(tmp_path, {**files, "m40.py": SLOW, "m60.py": f"import m40\n{WRONG}"}))
    with killed(100):
        found = reviewed_by(tree, num_workers=num_workers)
    assert reasons(found) == {"m40.py": "the process that read it died"}
    assert places(found) == [("REP001", f"{name}:1") for name in sorted(files) if name != "m40.py"] + [
        ("REP001", "m60.py:2")
    ]


def test_a_process_that_is_killed_once_costs_nothing(tmp_path):
    tree = list_tree(write(tmp_path, {"slow.py": SLOW[: len(SLOW) // 6] + b"]\n", "good.py": WRONG}))
    with killed(1):
        found = reviewed_by(tree, num_workers=1)
    assert reasons(found) == {}
    assert places(found) == [("REP001", "good.py:1")]


def test_no_process_is_left_behind(tmp_path):
    review_tree(write(tmp_path, {"a.py": WRONG}), num_workers=2)
    assert psutil.Process().children() == []


def test_a_mistake_in_a_rule_is_told_for_the_file_and_the_other_rules_go_on(tmp_path, monkeypatch):
    def broken(program, module):
        if module.path == "a.py":
            raise KeyError(module.path)
        return ()

    monkeypatch.setattr(analysis, "MODULE_CHECKS", (broken,))
    found = in_this_process(write(tmp_path, {"a.py": "x = 1\n", "b.py": WRONG}))
    assert reasons(found) == {
        "a.py": "the check test_review_tree.broken failed on it (KeyError): a bug of the harness, please report it"
    }
    assert places(found) == [("REP001", "b.py:1")]


def test_a_mistake_in_a_rule_on_surroundings_is_told_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "review_surroundings", lambda texts, known: texts["missing"])
    found = in_this_process(write(tmp_path, {"a.py": WRONG, "requirements.txt": "torch\n"}))
    assert "(KeyError): a bug of the harness" in reasons(found)["requirements.txt"]
    assert places(found) == [("REP001", "a.py:1")]


def test_tests_and_what_others_wrote_are_left_out_and_counted(tmp_path):
    root = write(
        tmp_path,
        {
            "train.py": "import third_party.loader\n",
            "tests/test_train.py": WRONG,
            "conftest.py": WRONG,
            "third_party/loader.py": WRONG,
            "build/lib/train.py": WRONG,
            "env/pyvenv.cfg": "",
            "env/lib/a.py": WRONG,
            "node_modules/b.py": WRONG,
            "notes.ipynb": "{}",
            ".git/hooks/c.py": WRONG,
        },
    )
    found = in_this_process(root)
    assert found.findings == ()
    assert sorted(reasons(found).values()) == [
        "1 notebook: not read",
        "2 files of others or built: read where something imports them, not reported on",
        "2 folders of installed packages (and 1 more): not read",
        "2 test files: read where something imports them, not reported on",
    ]


def test_what_a_program_does_in_code_of_others_is_not_reported(tmp_path, monkeypatch):
    def everywhere(entry):
        for module in entry.closure:
            place = Place(path=module.path, line=1)
            yield Finding(rule="REP101", certainty="proven", place=place, message="drawn")

    monkeypatch.setattr(analysis, "MODULE_CHECKS", ())
    monkeypatch.setattr(analysis, "ENTRY_CHECKS", (everywhere,))
    root = write(tmp_path, {"train.py": "import vendor.loader\nprint(1)\n", "vendor/loader.py": "x = 1\n"})
    assert places(in_this_process(root)) == [("REP101", "train.py:1")]


def entries_of(root, monkeypatch, *entries):
    started = []

    def record(entry):
        started.append((entry.module.path, sorted(one.path for one in entry.closure)))
        return ()

    monkeypatch.setattr(analysis, "ENTRY_CHECKS", (record,))
    in_this_process(root, *entries)
    return started


def test_programs_start_in_scripts_that_nothing_else_imports(tmp_path, monkeypatch):
    guard = "if __name__ == '__main__':\n    main()\n"
    root = write(
        tmp_path,
        {
            "train.py": "import model\nmodel.fit()\n",
            "model.py": "print('imported')\n",
            "values.py": "x = 1\n",
            "package/__init__.py": "",
            "package/setup_all.py": "print('a module with a side effect')\n",
            "package/cli.py": f"def main(): pass\n{guard}",
            "helper.py": f"def main(): pass\n{guard}",
            "uses_helper.py": f"import helper\ndef main(): pass\n{guard}",
            "tests/test_train.py": "import train\n",
        },
    )
    assert entries_of(root, monkeypatch) == [
        ("helper.py", ["helper.py"]),
        ("package/cli.py", ["package/__init__.py", "package/cli.py"][1:]),
        ("train.py", ["model.py", "train.py"]),
        ("uses_helper.py", ["helper.py", "uses_helper.py"]),
    ]


def test_with_entries_only_they_and_what_they_import_are_reviewed(tmp_path):
    root = write(tmp_path, {"train.py": f"import model\n{WRONG}", "model.py": WRONG, "other.py": WRONG})
    assert places(in_this_process(root, "train.py")) == [("REP001", "model.py:1"), ("REP001", "train.py:2")]
    assert places(in_this_process(root, "other.py")) == [("REP001", "other.py:1")]


def test_one_file_is_reviewed_with_what_it_imports_and_what_stands_beside_it(tmp_path):
    files = {"train.py": f"import model\n{WRONG}", "model.py": WRONG, "requirements.txt": "torch\n"}
    root = write(tmp_path, files | {"other/requirements.txt": "torch\n"})
    found = [("REP001", "model.py:1"), ("REP601", "requirements.txt:1"), ("REP001", "train.py:2")]
    assert sorted(places(in_this_process(root / "train.py"))) == sorted(found)


def test_an_entry_that_cannot_be_read_is_told(tmp_path):
    found = in_this_process(write(tmp_path, {"train.py": "def f(:\n"}), "train.py")
    assert reasons(found) == {"train.py": "no valid Python: invalid syntax, line 1"}


@pytest.mark.parametrize(
    ("path", "entries"), [("missing", ()), (".", ("missing.py",)), (".", ("../outside.py",)), (".", ("notes.txt",))]
)
def test_what_is_not_there_cannot_be_reviewed(tmp_path, path, entries):
    write(tmp_path, {"tree/notes.txt": "", "outside.py": ""})
    with pytest.raises(UsageError):
        review_tree(tmp_path / "tree" / path, entries, num_workers=0)


def test_a_review_survives_being_written_down(tmp_path):
    review = StaticReview(
        findings=(
            Finding(rule="REP901", certainty="proven", place=Place(path="a.py", line=1), message="wrong"),
            Finding(rule="REP901", certainty="possible", place=None, message="m", fix="fix it", allowed="a demo only"),
        ),
        showings=(Showing(item="V4", state="unknown", text="no GPU", place=Place(path="a.py"), is_measured=True),),
        unread=(UnreadFile(path="b\\udce9.py", reason="odd"),),
        num_files=7,
    )
    store = Store(tmp_path / "cache")
    review_module._keep(store, "key", review)
    assert review_module._kept(store, "key") == review


def test_an_unchanged_tree_is_not_read_again(tmp_path, monkeypatch):
    store = Store(tmp_path / "cache")
    root = write(tmp_path / "tree", {"a.py": WRONG, "requirements.txt": "torch\n", "bad.py": "def f(:\n"})
    first = in_this_process(root, store=store)
    assert [rule for rule, _ in places(first)] == ["REP001", "REP601"]

    def refuse(*_):
        raise AssertionError("it was reviewed again")

    monkeypatch.setattr(review_module, "_review", refuse)
    assert in_this_process(root, store=store) == first
    for change in ("a.py", "requirements.txt"):
        before = (root / change).read_bytes()
        with pytest.raises(AssertionError, match="again"):
            in_this_process(write(root, {change: "# changed\n"}), store=store)
        assert in_this_process(write(root, {change: before}), store=store) == first
    with pytest.raises(AssertionError, match="again"):
        in_this_process(root, "a.py", store=store)


DAMAGES = ["", "[]", "{}", '{"review": 3}', '{"review": {"findings": 3}}', '{"review": {"unread": [[1]]}}']


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_ignored(tmp_path, damage):
    store = Store(tmp_path / "cache")
    root = write(tmp_path / "tree", {"a.py": WRONG})
    first = in_this_process(root, store=store)
    (record,) = (store.root / "reviews").glob("*.json")
    record.write_text(damage)
    assert in_this_process(root, store=store) == first


def test_the_newest_reviews_are_kept(tmp_path):
    store = Store(tmp_path / "cache")
    for number in range(70):
        in_this_process(write(tmp_path / "tree", {"a.py": f"x = {number}\n"}), store=store)
    records = sorted((store.root / "reviews").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    assert len(records) == 64


def test_a_review_of_a_tree_that_changed_meanwhile_is_not_kept(tmp_path, monkeypatch):
    store = Store(tmp_path / "cache")
    root = write(tmp_path / "tree", {"a.py": WRONG})
    real = review_module._review

    def change_then_review(*arguments):
        write(root, {"a.py": "x = 1\n"})
        return real(*arguments)

    monkeypatch.setattr(review_module, "_review", change_then_review)
    found = in_this_process(root, store=store)
    assert found.unread == (UnreadFile(path="a.py", reason="it changed while it was reviewed"),)
    assert not list(store.folder("reviews").glob("*.json"))


def test_an_image_of_this_project_is_reviewed_with_its_locks_only(tmp_path):
    lock = (ROOT / "lockfiles" / "cpu.lock").read_bytes()
    base = (STOCK / "base-bookworm.lock").read_bytes()
    recipe = (STOCK / "Dockerfile").read_bytes()
    root = write(
        tmp_path,
        {
            "train.py": "x = 1\n",
            "images/cpu/Dockerfile": recipe,
            "images/other/Dockerfile": "FROM debian\n",
            "lockfiles/cpu.lock": lock,
            "lockfiles/base-bookworm.lock": base,
            "lockfiles/other.lock": "torch\n",
            "requirements.txt": "torch\n",
        },
    )
    found = in_this_process(root, "train.py", image="cpu")
    assert [one for one in found.findings if isinstance(one, Finding)] == []
    shown = {one.item: one for one in found.showings}
    assert "==" not in shown["E1"].text and "lockfiles/cpu.lock pins" in shown["E1"].text
    assert {"E1", "E5", "V3"} <= shown.keys()
    assert "lockfiles/base-bookworm.lock" in shown["E5"].text
    (root / "images" / "cpu" / "Dockerfile").unlink()
    ours = in_this_process(root, "train.py", image="cpu").showings
    assert ["comes with the harness stands on base-bookworm.lock" in one.text for one in ours if one.item == "E5"] == [
        True
    ]
    everything = in_this_process(root)
    assert {("REP604", "images/other/Dockerfile:1"), ("REP601", "lockfiles/other.lock:1")} <= set(places(everything))


def test_reviewing_imports_no_parser_for_an_unchanged_tree(tmp_path):
    write(tmp_path, {"tree/a.py": "x = 1\n"})
    script = (
        "import sys; from pathlib import Path\n"
        "from harness.review.review_tree import review_tree; from harness.system.store import Store\n"
        f"root, store = Path({str(tmp_path / 'tree')!r}), Store(Path({str(tmp_path / 'cache')!r}))\n"
        "review_tree(root, store=store, num_workers=0 if sys.argv[1] == 'first' else 1)\n"
        "print(*sorted(sys.modules))"
    )
    names = []
    for turn in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-c", script, turn],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        names.append(set(done.stdout.split()))
    assert "harness.review.programs" in names[0]
    assert not names[1] & {"harness.review.programs", "harness.review.rules", "packaging"}


def test_a_review_that_cannot_be_kept_is_made_all_the_same(tmp_path):
    write(tmp_path / "x", {"a.py": "import random\nrandom.random()\n"})
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "cache")
    assert review_tree(tmp_path / "x", store=store) == review_tree(tmp_path / "x")
