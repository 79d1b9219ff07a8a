from pathlib import Path

from setuptools import setup

setup(
    name="layers",
    install_requires=Path("requirements.txt").read_text(encoding="utf-8").splitlines(),
)
