"""Proposed commands: from a README, from a script's options, from what a script does by itself."""

import pytest

from harness.errors import UsageError
from harness.scaffold.commands import LATEST, propose

LOOP = """
import argparse, os, torch
parser = argparse.ArgumentParser()
{options}
arguments = parser.parse_args()
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1)
{load}
for _ in range(3):
    model(torch.ones(1)).sum().backward()
    optimizer.step()
torch.save(model.state_dict(), "model.pt")
"""


def write(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def loop(options="", load=""):
    return LOOP.format(options=options, load=load)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ('"--resume", action="store_true"', ["--resume"]),
        ('"--resume_from_checkpoint", default=None, metavar="PATH"', ["--resume_from_checkpoint", LATEST]),
        ('"--ckpt-path", help="a file, or \'last\'"', ["--ckpt-path", "last"]),
        ('"--load_from", type=str', ["--load_from", LATEST]),
    ],
)
def test_an_option_that_resumes_is_found_with_what_it_wants(tmp_path, option, words):
    found = propose(write(tmp_path, {"train.py": loop(f"parser.add_argument({option})")}))
    assert found.run == ("python", "train.py")
    assert found.resume == (*found.run, *words) and "train.py has the option" in found.why


def test_an_option_for_something_else_is_none_that_resumes(tmp_path):
    options = 'parser.add_argument("--checkpoint_every", type=int); parser.add_argument("--load_in_8bit")'
    assert propose(write(tmp_path, {"train.py": loop(options)})).resume is None


@pytest.mark.parametrize(
    "load",
    [
        "get_last_checkpoint('out')",
        "trainer.train(resume_from_checkpoint=True)",
        "model.load_state_dict(torch.load('m'))",
    ],
)
def test_a_script_that_looks_for_its_checkpoint_itself_is_started_again(tmp_path, load):
    found = propose(write(tmp_path, {"train.py": loop(load=f"if os.path.exists('m'):\n    {load}")}))
    assert found.resume == found.run and "looks for its checkpoint itself" in found.why


README = """# A model
    $ uv run python scripts/prepare.py
    $ CUDA_VISIBLE_DEVICES=0 uv run python train.py --lr 0.1 \\
        --epochs 2
    $ python train.py --lr 0.1 --epochs 2 --resume out/step_40/state.pt
    $ python train.py --eval eval
"""


def test_the_readme_says_what_is_typed_and_a_checkpoint_in_it_stands_for_the_newest(tmp_path):
    found = propose(write(tmp_path, {"README.md": README, "train.py": loop(), "scripts/prepare.py": "print()"}))
    assert found.run == ("python", "train.py", "--lr", "0.1", "--epochs", "2")
    assert found.resume == (*found.run, "--resume", "{latest:out/step_*/state.pt}")
    assert found.environment == {"CUDA_VISIBLE_DEVICES": "0"} and found.why == "the README says so"


def test_a_module_below_src_is_started_as_one(tmp_path):
    files = {"src/nets/__init__.py": "", "src/nets/fit.py": loop(), "README.md": "    python -m nets.fit --epochs 1"}
    found = propose(write(tmp_path, files))
    assert (found.run, found.environment) == (("python", "-m", "nets.fit", "--epochs", "1"), {"PYTHONPATH": "src"})


def test_what_is_given_counts_more_than_what_is_found(tmp_path):
    write(tmp_path, {"train.py": loop(), "other.py": loop(), "README.md": "    python train.py\n"})
    assert propose(tmp_path, ("other.py", "--x")).run == ("python", "other.py", "--x")
    assert propose(tmp_path, ("A=1", "python3", "other.py")).run == ("python", "other.py")
    with pytest.raises(UsageError, match="starts no Python file"):
        propose(tmp_path, ("python", "nothing.py"))


def test_scripts_that_only_a_name_chose_among_are_told_and_a_notebook_is_made_a_script(tmp_path):
    write(tmp_path, {"b.ipynb": "{}"})
    with pytest.raises(UsageError) as caught:
        propose(tmp_path)
    assert caught.value.remedy.endswith("nbconvert --to script b.ipynb")
    write(tmp_path, {"cnn/train.py": loop(), "rnn/train.py": loop()})
    assert propose(tmp_path).others == ("rnn/train.py",)
    assert propose(write(tmp_path, {"README.md": "    python cnn/train.py\n"})).others == ()


def test_a_script_whose_parts_a_configuration_names_is_known_by_its_name(tmp_path):
    fit = "hydra.utils.instantiate({}).fit(ckpt_path=cfg.get('ckpt_path'))"
    text = f"import hydra\ncfg = {{}}\nif __name__ == '__main__':\n    {fit}\n"
    found = propose(write(tmp_path, {"src/train.py": text, "src/eval.py": text}))
    assert (found.run, found.resume) == (("python", "src/train.py"), None)


def test_a_tokenizer_that_is_trained_is_no_training_and_without_one_that_is_said(tmp_path):
    write(tmp_path, {"make.py": "from tokenizers.trainers import BpeTrainer\nBpeTrainer()\n"})
    with pytest.raises(UsageError, match="no script that trains was found"):
        propose(tmp_path)


@pytest.mark.parametrize(("library", "is_trainer"), [("transformers", True), ("lightning", False)])
def test_the_trainer_of_transformers_is_known_by_where_it_comes_from(tmp_path, library, is_trainer):
    text = f"from {library} import Trainer\ntrainer = Trainer()\ntrainer.train(resume_from_checkpoint=True)\n"
    assert propose(write(tmp_path, {"train.py": text})).uses_trainer is is_trainer


def test_a_command_that_an_installed_package_has_is_started_as_its_module(tmp_path):
    files = {
        "pyproject.toml": '[project]\nname = "nets"\nscripts = {nets = "nets.cli:main"}\n',
        "README.md": "    nets fit --epochs 3\n    nets fit --epochs 3 --resume out/epoch_1.pt\n",
        "src/nets/__init__.py": "",
        "src/nets/cli.py": "from nets.loop import fit\nif __name__ == '__main__':\n    fit()\n",
        "src/nets/loop.py": loop(),
    }
    found = propose(write(tmp_path, files))
    assert found.run == ("python", "-m", "nets.cli", "fit", "--epochs", "3")
    assert found.resume == (*found.run, "--resume", "{latest:out/epoch_*.pt}")
    assert found.environment == {"PYTHONPATH": "src"}


def test_a_package_beside_the_scripts_folder_is_found_without_being_installed(tmp_path):
    files = {"nets/__init__.py": "", "nets/loop.py": loop(), "scripts/train.py": "import nets.loop\nprint()\n"}
    assert propose(write(tmp_path, files), ("scripts/train.py",)).environment == {"PYTHONPATH": "."}


@pytest.mark.parametrize(
    ("readme", "help_text", "words"),
    [
        ("", "path to latest checkpoint (default: None)", LATEST),
        ("", "a path, or latest", "latest"),
        ("    python train.py --resume path/to/checkpoint", "", LATEST),
        ("    python train.py --resume saved/run_3/model_7.pth", "", "{latest:saved/run_*/model_*.pth}"),
    ],
)
def test_prose_about_the_latest_checkpoint_and_a_placeholder_want_a_path(tmp_path, readme, help_text, words):
    options = f'parser.add_argument("-c"); parser.add_argument("--resume", help="{help_text}")'
    files = {"train.py": loop(options), "README.md": f"    python train.py -c small.json\n{readme}\n"}
    assert propose(write(tmp_path, files)).resume == ("python", "train.py", "-c", "small.json", "--resume", words)
