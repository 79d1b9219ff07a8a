"""The draft of an experiment: the text is the value, and says what was found out."""

from dataclasses import replace

from harness.documents.experiment import Experiment, Interruption, parse_experiment
from harness.review.source.module import read_module
from harness.scaffold.draft import Draft, LocalInput
from harness.scaffold.local_data import experiment_name, input_name, local_data
from harness.scaffold.trial import Saved, Trial, saved_by
from tests.made.synthetic import straight
from tests.project import Project

KILLS = (Interruption(kind="after_step", step=1), Interruption(kind="in_write", step=4, byte=9))


def draft(**changes):
    values = {
        "name": "mine",
        "command": "python train.py --x 'a b'",
        "image": "cpu",
        "run": ("python", "train.py", "--x", "a b"),
        "resume": ("python", "train.py", "--resume", "{latest:out/step-*}"),
        "environment": {"OMP_NUM_THREADS": "1"},
        "inputs": (LocalInput(name="a.jsonl", kind="file", path="data/a: b.jsonl", sha256="0" * 64),),
        "outputs": ("out/model.pt",),
    }
    return Draft(**{**values, **changes})


def test_the_text_is_the_experiment_whatever_is_in_its_words():
    for one in (draft(), draft(resume=None), draft(image="cuda"), draft(kills=KILLS, steps=9)):
        assert parse_experiment(one.text, "x.yaml") == one.experiment()
    assert draft(resume=None).experiment().policy.required == ("rerun", "rebuild")
    assert draft(image="cuda").experiment().gpus == 1


def test_a_trial_says_steps_and_files_and_only_the_trainer_of_transformers_has_kills_listed():
    trial = Trial(steps=9, is_finished=True, saved=Saved(outputs=("a.pt",), checkpoints=("c-*.pt",)), kills=KILLS)
    one, two = draft(), draft()
    one.learn(trial, uses_trainer=False)
    two.learn(replace(trial, is_finished=False), uses_trainer=True)
    assert (one.steps, one.outputs, one.checkpoints, one.kills) == (9, ("a.pt",), ("c-*.pt",), ())
    assert (two.steps, two.kills) == (None, KILLS[:1]) and "loads a torn one" in two.text


def test_what_is_written_again_and_again_is_a_checkpoint_and_the_rest_an_output():
    evidence = straight()  # checkpoints/ after every second step of 8, adapter.safetensors at the end
    found = saved_by(evidence, evidence.runs[0])
    assert found.outputs == ("adapter.safetensors",)
    assert found.checkpoints and all(glob.startswith("checkpoints/") for glob in found.checkpoints)
    assert "*" in found.latest


def test_data_that_no_commit_has_are_inputs_and_old_outputs_are_not(tmp_path):
    for path in (
        "train.py",
        "data/kept.txt",
        "data/big.bin",
        "models/m/w.bin",
        "outputs/old.pt",
        "conf/a.yaml",
        "x.npz",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("path: x.npz\n" if path.endswith("yaml") else "")
    (tmp_path / ".gitignore").write_text("*.bin\nmodels/\noutputs/\n*.npz\n")
    project = Project(tmp_path)
    project.git("init", "-q")
    project.commit()
    text = "open('data/kept.txt'); open('data/big.bin'); load('models/m'); load('outputs/old.pt'); load('nowhere.bin')"
    modules = [read_module("train.py", text.encode())]
    assert local_data(tmp_path, ("python", "train.py"), modules) == ("data/big.bin", "models/m", "x.npz")
    assert local_data(tmp_path, ("python", "--model=models/m"), []) == ("models/m", "x.npz")


def test_names_are_those_of_the_files():
    assert [experiment_name(path) for path in ("train_LoRA.py", "src/nets/cli", "Ä.py")] == [
        "train_lora",
        "nets-cli",
        "training",
    ]
    assert [input_name("x/a b.txt", []), input_name("b/a.txt", ["a.txt"])] == ["a-b.txt", "b-a.txt"]
    assert isinstance(draft().experiment(), Experiment)
