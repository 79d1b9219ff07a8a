"""What a repository needs: from whichever file it has, versions kept, PyTorch's build chosen."""

import pytest

from harness.documents.platform import Target
from harness.errors import UsageError
from harness.scaffold.requirements import STOCK_TORCH, read_needs

CPU = f"torch=={STOCK_TORCH}+cpu"
CONDA = "dependencies:\n- python=3.11\n- pytorch=2.3\n- numpy=1.26.4\n- pip:\n  - peft==0.13\n"
PROJECT = '[project]\nname="mine"\ndependencies=["torch>=2", "mine", "pandas~=2.1"]\n'
UV = """[[package]]
name = "mine"
version = "1"
source = { virtual = "." }
[[package]]
name = "torch"
version = "2.5.0"
"""


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("requirements.txt", "torch==2.4.1\nnumpy==1.26.4  # a pin\n-r x.txt\n", ["numpy==1.26.4", "torch==2.4.1+cpu"]),
        ("requirements.txt", "torch>=2.3\npeft>=0.13\npywin32; sys_platform == 'win32'\n", ["peft>=0.13", CPU]),
        ("requirements.txt", "nvidia-nccl-cu12==2.2\ntriton==3.1\nnumpy\n", ["numpy", CPU]),
        ("pyproject.toml", PROJECT, ["pandas~=2.1", CPU]),
        ("environment.yml", CONDA, ["numpy==1.26.4", "peft==0.13", "torch==2.3+cpu"]),
        ("uv.lock", UV, ["torch==2.5.0+cpu"]),
    ],
)
def test_every_kind_of_file_is_read(tmp_path, name, text, lines):
    (tmp_path / name).write_text(text)
    needs = read_needs(tmp_path, "cpu", {})
    assert list(needs.lines) == lines and needs.source == name
    assert needs.text.endswith("\npip\n")


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({"pyproject.toml": '[project]\nname="mine"\nrequires-python=">=3.10"\n'}, "3.11"),
        ({"pyproject.toml": '[project]\nname="mine"\nrequires-python=">=3.12.2"\n'}, "3.12"),
        ({"pyproject.toml": '[project]\nname="mine"\nrequires-python="<3.11"\n'}, "3.10"),
        ({"pyproject.toml": '[project]\nname="mine"\nrequires-python="nonsense"\n'}, "3.11"),
        ({"environment.yml": "dependencies:\n- python=3.13.1\n"}, "3.13"),
        ({"environment.yml": "dependencies:\n- python=3.9\n"}, "3.11"),
        ({"environment.yml": "dependencies:\n- python>=3.8\n"}, "3.11"),
        ({"Dockerfile": "FROM python:3.12-slim AS one\nFROM a/python:3.10.2\nRUN python\n"}, "3.10"),
        ({"Dockerfile": "FROM debian\n", "environment.yml": "dependencies:\n- python=3.12\n"}, "3.12"),
    ],
)
def test_the_python_is_the_one_that_a_file_names_if_images_have_it(tmp_path, files, python):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "requirements.txt").write_text("numpy\nold; python_version < '3.11'\n")
    needs = read_needs(tmp_path, "cpu", {})
    assert needs.target == Target(python)
    assert (f"# python {python}\n" in needs.text) == (python != "3.11")
    assert any("old" in line for line in needs.lines) == (python == "3.10")


def test_what_is_installed_chooses_the_build_where_it_fits(tmp_path):
    (tmp_path / "requirements.txt").write_text("torch<2.6\ntorchvision\n")
    installed = {"torch": "2.5.1+cu124", "torchvision": "0.20.1+cu124"}
    assert read_needs(tmp_path, "cpu", installed).lines == ("torch==2.5.1+cpu", "torchvision==0.20.1+cpu")
    assert read_needs(tmp_path, "cuda", installed).lines == ("torch==2.5.1", "torchvision==0.20.1")
    assert read_needs(tmp_path, "cpu", {"torch": "2.9.0"}).lines == ("torch<2.6", "torchvision")


def test_without_a_file_the_imports_say_it_and_what_is_no_wheel_is_told(tmp_path):
    needs = read_needs(tmp_path, "cpu", {"numpy": "2.1.0"}, ["numpy", "PIL", "torch"])
    assert needs.lines == ("numpy==2.1.0", "pillow", CPU)
    (tmp_path / "requirements.txt").write_text("own @ git+https://example.org/own.git\ntorch\n")
    assert read_needs(tmp_path, "cpu", {}).left_out == ("own @ git+https://example.org/own.git",)
    (tmp_path / "uv.lock").write_text("[[package\n")
    with pytest.raises(UsageError, match=r"uv\.lock is not valid TOML"):
        read_needs(tmp_path, "cpu", {})
