"""Records read from runs/ and manifests/ of a repository: what is malformed is told and left out."""

import json
import shutil
from pathlib import Path

import pytest

from harness.documents.digest import Digest
from harness.errors import UsageError
from harness.history.commits import seen_by
from harness.history.read import find_record, known_use, read_history
from tests.made.past_run import MANIFEST, VERDICT
from tests.unit.history.test_commits import Repository

CORE = Path(__file__).parents[1] / "core"
RECORDER = Digest("sha256", "ab" * 32)
LOCK = "# target: cp311-linux-x86_64\nsix=={v} --hash=sha256:{d}\n# wheel six six-{v}-py3-none-any.whl 10 sha256:{d}\n"
EXPERIMENT = """schema: 1
image: tiny
run: [python, train/train.py]
resume: [python, -m, train.train]
steps: 8
outputs: ["*.safetensors"]
policy: {required: [rerun]}
"""


@pytest.fixture
def synthetic(monkeypatch):
    monkeypatch.syspath_prepend(str(CORE))
    from tests.made import synthetic

    return synthetic


@pytest.fixture
def repository(tmp_path):
    repository = Repository(tmp_path / "project")
    for folder in ("pipelines/experiments", "lockfiles", "images/tiny", "train"):
        (repository.root / folder).mkdir(parents=True)
    files = {"pipelines/experiments/exp.yaml": EXPERIMENT, "train/train.py": "1\n", ".gitignore": "runs/\n"}
    files |= {"images/tiny/Dockerfile": "ARG BASE=base-x\nFROM ${BASE}\n"}
    repository.first = repository.commit("first", **files, **{"lockfiles/tiny.lock": LOCK.format(v=1, d="1" * 64)})
    files = {"train/train.py": "2\n", "notes.txt": "x\n", "lockfiles/tiny.lock": LOCK.format(v=2, d="2" * 64)}
    repository.second = repository.commit("second", **files)
    return repository


def write_run(root, day, commit, ledger=None, head="sha256:" + "0" * 64, kind="runs", **changes):
    """The documents that a certify leaves, and the ledger of its straight run."""
    folder = root / kind / "exp" / f"202611{day:02}T101112Z-abcdef0-0000"
    folder.mkdir(parents=True)
    fields = {"commit": commit, "runner": "host"} | changes
    recorder = fields.pop("harness", {"recorder": str(RECORDER)})
    manifest = {
        **MANIFEST,
        **fields,
        "code": {"sha256": f"sha256:{commit}"},
        "harness": {**MANIFEST["harness"], **recorder},
        "trajectories": {"straight": {"ledgers": [head], "files": {}}},
    }
    (folder / "verdict.json").write_text(json.dumps({**VERDICT, **fields}))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if ledger is not None:
        (folder / "straight" / "runs" / "1").mkdir(parents=True)
        (folder / "straight" / "runs" / "1" / "ledger.jsonl").write_bytes(ledger)
    return folder


def read(root):
    return read_history(root, "exp", lambda _: None)


def test_records_are_listed_oldest_first_with_what_changed(repository, synthetic):
    runs = [synthetic.straight(), synthetic.straight(quirks=synthetic.Quirks(noise=(3, "grad")))]
    for day, commit, run in zip((2, 1), (repository.second, repository.first), reversed(runs), strict=True):
        write_run(repository.root, day, commit, run.runs[0].ledger_bytes, str(run.runs[0].ledger.head))
    found = read(repository.root)
    assert [record.date[:10] for record in found.records] == ["2026-11-01", "2026-11-02"]
    (change,) = found.changes
    assert change.numbers_equal is False and not change.is_unexplained
    assert (change.first_difference.step, change.first_difference.stream) == (3, "grad")
    assert [file.path for file in change.files] == ["lockfiles/tiny.lock", "train/train.py"]
    assert change.num_other_files == 1 and change.num_commits == 1
    assert [str(pin) for pin in change.pins] == ["six 1 -> 2"]
    assert json.loads(json.dumps(found.to_json()))["changes"][0]["pins"][0]["name"] == "six"


def test_a_run_that_was_published_as_well_is_one_record(repository):
    folder = write_run(repository.root, 1, repository.first)
    target = repository.root / "manifests" / "exp" / folder.name
    shutil.copytree(folder, target)
    write_run(repository.root, 2, repository.first, kind="manifests")
    assert [record.source for record in read(repository.root).records] == ["both", "manifests"]


def test_a_ledger_that_is_not_the_one_that_the_manifest_names_is_not_believed(repository, synthetic):
    straight = synthetic.straight().runs[0]
    write_run(repository.root, 1, repository.first, straight.ledger_bytes, str(straight.ledger.head))
    write_run(repository.root, 2, repository.first, straight.ledger_bytes, "sha256:" + "1" * 64)
    found = read(repository.root)
    one, two = found.records
    assert found.changes[0].num_steps is None, "a ledger of somebody else is compared with nothing"
    assert one.figures.last_loss is not None and two.figures.last_loss is None


def malformed(**changes):
    return json.dumps({**VERDICT, **changes})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper"),
        ("[" * 100_000, "no JSON"),
        (malformed(commit="--output=x"), "the commit"),
        (malformed(commit=7), "commit"),
        (malformed(schema=99), "format 99"),
        (None, "missing"),
    ],
)
def test_a_malformed_document_is_told_and_left_out(repository, text, problem):
    write_run(repository.root, 1, repository.first)
    bad = write_run(repository.root, 2, repository.first)
    (bad / "verdict.json").unlink()
    if text is not None:
        (bad / "verdict.json").write_text(text)
    found = read(repository.root)
    assert len(found.records) == 1 and len(found.left_out) == 1
    assert problem in found.left_out[0].problem and bad.name in found.left_out[0].path


@pytest.mark.parametrize("junk", [None, 3, "x", [], {"x": 1}, [None], {"steps": "1"}, 1e400, -(10**30), True])
@pytest.mark.parametrize(
    "path",
    [
        ("trajectories",),
        ("trajectories", "straight"),
        ("trajectories", "straight", "ledgers"),
        ("trajectories", "straight", "files"),
        ("environment",),
        ("environment", "host", "gpus"),
        ("experiment",),
        ("experiment", "image"),
        ("experiment", "run"),
        ("experiment", "steps"),
        ("volatile",),
        ("volatile", "runs"),
        ("image",),
        ("harness",),
        ("code",),
        ("scope",),
        ("prepared",),
    ],
)
def test_a_field_of_a_wrong_type_never_ends_the_history(repository, path, junk):
    write_run(repository.root, 1, repository.first)
    other = write_run(repository.root, 2, repository.second)
    manifest = json.loads((other / "manifest.json").read_text())
    table = manifest
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = junk
    (other / "manifest.json").write_text(json.dumps(manifest))
    write_run(repository.root, 3, repository.first)
    found = read(repository.root)
    assert len(found.records) + len(found.left_out) == 3 and found.write()


def test_links_are_not_followed(repository, tmp_path):
    folder = write_run(repository.root, 1, repository.first)
    (folder.parent / "latest").symlink_to(folder.name)
    (folder.parent / "20261109T101112Z-abcdef0-0000").symlink_to(folder.name)
    other = write_run(repository.root, 2, repository.first)
    (tmp_path / "verdict.json").write_text("{}")
    (other / "verdict.json").unlink()
    (other / "verdict.json").symlink_to(tmp_path / "verdict.json")
    found = read(repository.root)
    assert len(found.records) == len(found.left_out) == 1 and "link" in found.left_out[0].problem


def test_a_commit_that_the_repository_does_not_have_costs_only_what_git_would_tell(repository):
    write_run(repository.root, 1, "0" * 40)
    write_run(repository.root, 2, repository.first)
    (change,) = read(repository.root).changes
    assert change.num_commits is None and change.files == ()


def test_a_run_that_never_trained_is_listed_and_compared_with_nothing(repository):
    write_run(repository.root, 1, repository.first)
    vetoed = write_run(repository.root, 2, repository.first)
    (vetoed / "manifest.json").unlink()
    write_run(repository.root, 3, repository.first)
    found = read(repository.root)
    assert len(found.records) == 3
    assert [(one.before[:8], one.after[:8]) for one in found.changes] == [("20261101", "20261103")]


@pytest.mark.parametrize("name", ["..", "a/b", "", "nothing"])
def test_no_record_is_an_error_with_a_remedy(repository, name):
    with pytest.raises(UsageError):
        read_history(repository.root, name, lambda _: None)


def test_the_newest_record_that_can_serve_as_a_reference_is_found(repository, synthetic):
    straight = synthetic.straight().runs[0]
    own = (straight.ledger_bytes, str(straight.ledger.head))
    root = repository.root
    write_run(root, 1, repository.first, *own)
    wanted = write_run(root, 2, repository.first, *own)
    write_run(root, 3, repository.first)
    write_run(root, 4, repository.first, *own, dirty=True)
    write_run(root, 5, repository.first, *own, runner="docker")
    write_run(root, 6, repository.first, *own, harness={"recorder": "sha256:other"})
    write_run(root, 7, repository.second, *own)
    assert find_record(root, "exp", repository.first, "host", RECORDER) == wanted
    assert find_record(root, "exp", repository.first, "auto", RECORDER).name.startswith("20261105")
    assert find_record(root, "exp", "0" * 40, "host", RECORDER) is None


def test_what_an_experiment_uses_is_read_from_the_commit(repository):
    paths = ["train/train.py", "notes.txt", "images/tiny/Dockerfile", "images/other/Dockerfile"]
    root = repository.root
    use = known_use(root, repository.first, "exp")
    assert (use.image, use.base, use.entries) == ("tiny", "base-x", ("train/train.py",))
    assert seen_by(paths, use) == {"train/train.py", "images/tiny/Dockerfile"}
    assert known_use(root, repository.first, "none") is None
