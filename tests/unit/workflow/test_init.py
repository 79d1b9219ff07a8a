"""`harness init` without a network and without torch: what is asked, what is written, what is told."""

import pytest

from harness.documents.dockerfile import read_base
from harness.documents.experiment import parse_experiment
from harness.errors import HostError, UsageError
from harness.report.console import Progress
from harness.system.store import Store
from harness.workflow import init
from tests.project import Project
from tests.unit.scaffold.test_commands import loop, write

FILES = {
    "train.py": loop('parser.add_argument("--resume", metavar="PATH")'),
    "requirements.txt": "torch>=2\n",
    ".gitignore": "*.bin\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise HostError("no index answers", "look at the network")

    monkeypatch.setattr(init, "write_lock", no_network)
    monkeypatch.setattr(init, "_todays_python", lambda _: None)
    project = Project(write(tmp_path / "project", FILES))
    project.git("init", "-q")
    project.commit()
    return project


def made(project, answers=None):
    asked = {}

    def ask(question, default):
        asked[question.partition(" (")[0]] = default
        return (answers or {}).get(question.partition(" (")[0], default)

    store = Store(project.root.parent / "cache")
    with Progress() as progress:
        return init.init(project.root, (), ask, store, progress), asked


def test_what_cannot_be_found_out_is_told_and_all_files_are_written(project):
    found, asked = made(project)
    assert asked == {
        "The command that trains": "python train.py",
        "The command that resumes": "python train.py --resume '{latest:GLOB}'",
        "Train on `cpu` or `cuda`": "cpu",
        "A name for the experiment": "train",
        "Write a workflow for GitHub Actions": "no",
    }
    assert found.written == ["lockfiles/cpu.in", "pipelines/experiments/train.yaml", ".gitignore"]
    told = " | ".join(found.unknown)
    for words in ("no index answers", "no Python with torch", "replace GLOB", "which files the training leaves"):
        assert words in told
    assert (project.root / ".gitignore").read_text() == "*.bin\n/runs/\n"
    experiment = parse_experiment((project.root / "pipelines/experiments/train.yaml").read_text(), "train.yaml")
    assert experiment.working_folder == "output" and experiment.chooses_kills


def test_another_python_needs_a_base_that_has_it(project, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    (project.root / "Dockerfile").write_text("FROM python:3.12-slim\n")
    found, _ = made(project)
    assert "# python 3.12\n" in (project.root / "lockfiles" / "cpu.in").read_text()
    assert any(text.startswith("a base with Python 3.12: write images/cpu/Dockerfile") for text in found.unknown)
    (project.root / "lockfiles" / "cpu.in").unlink()
    base = f"python:3.12-slim@sha256:{'a' * 64}"
    (project.root / "Dockerfile").write_text(f"FROM {base}\n")
    found, _ = made(project, {"A name for the experiment": "another"})
    assert "images/cpu/Dockerfile" in found.written
    text = (project.root / "images" / "cpu" / "Dockerfile").read_text()
    assert read_base(text, "x").pull == f"python@sha256:{'a' * 64}" and f"FROM {base}\n" in text


def test_answers_count_and_nothing_that_is_there_is_written_over(project):
    answers = {
        "A name for the experiment": "mine",
        "The command that resumes": "none",
        "Write a workflow for GitHub Actions": "yes",
    }
    found, _ = made(project, answers)
    assert ".github/workflows/reproducibility.yml" in found.written
    assert "experiment: mine" in (project.root / ".github/workflows/reproducibility.yml").read_text()
    (project.root / "lockfiles" / "cpu.in").write_text("own\n")
    with pytest.raises(UsageError, match="is there already"):
        made(project, answers)
    again, _ = made(project, {"A name for the experiment": "another"})
    assert again.written == ["pipelines/experiments/another.yaml"]
    assert (project.root / "lockfiles" / "cpu.in").read_text() == "own\n"


@pytest.mark.parametrize(
    ("question", "answer", "words"),
    [
        ("The command that trains", "python 'train.py", "is no command: No closing quotation"),
        ("The command that trains", " ", "no command that trains"),
        ("Train on `cpu` or `cuda`", "tpu", "neither cpu nor cuda"),
        ("A name for the experiment", "A b", "is no name"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(project, question, answer, words):
    with pytest.raises(UsageError, match=words):
        made(project, {question: answer})
