"""Build harness.pyz, one file that verifies: build.py OUTPUT

It holds the wheels of what pyproject.toml calls dependencies, in the versions and with the hashes of
lockfiles/harness.lock, for each Python that is named below; start.py unpacks those that fit. The same checkout and lock
give the same bytes.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
EPOCH = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    root, output = Path(__file__).resolve().parents[2], Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch)
        os.environ |= {"SOURCE_DATE_EPOCH": "315532800", "DIST_EXTRA_CONFIG": f"{scratch}/own.cfg"}
        (wheels / "any").mkdir()
        # Not in the checkout, where an earlier build may have left modules that are gone.
        (wheels / "own.cfg").write_text(f"[build]\nbuild_base = {scratch}/own\n")
        pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", wheels / "any", root)
        (wheels / "base.lock").write_text(locked(root))
        folders = [download(wheels, python) for python in PYTHONS]
        for name in set.intersection(*({path.name for path in folder.iterdir()} for folder in folders)):
            shutil.copy(folders[0] / name, wheels / "any")
            for folder in folders:
                (folder / name).unlink()
        write(output, sorted(wheels.glob("*/*.whl")), wheels)
    print(f"{output} {output.stat().st_size / 1e6:.0f} MB, sha256 {hashlib.sha256(output.read_bytes()).hexdigest()}")


def locked(root: Path) -> str:
    """The part of the lock that the base dependencies and theirs are pinned in."""
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    open_, wanted = [Requirement(text) for text in declared], set()
    while open_:
        name = canonicalize_name(open_.pop().name)
        if name not in wanted:
            wanted.add(name)
            needed = map(Requirement, importlib.metadata.requires(name) or ())
            open_ += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    entries = re.split(r"^(?=[A-Za-z0-9])", (root / "lockfiles" / "harness.lock").read_text(), flags=re.MULTILINE)
    named = {canonicalize_name(re.split(r"[\[=]", entry)[0]): entry for entry in entries[1:]}
    return "".join(named[name] for name in sorted(wanted))


def download(wheels: Path, python: str) -> Path:
    """The wheels for one Python."""
    folder = wheels / f"cp{python.replace('.', '')}"
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--implementation", "cp"]
    options += [word for name in PLATFORMS for word in ("--platform", name)]
    pip("download", *options, "--python-version", python, "--dest", folder, "--requirement", wheels / "base.lock")
    return folder


def write(output: Path, wheels: list[Path], above: Path) -> None:
    """A zip that Python runs."""
    contents = {path.relative_to(above).as_posix(): path.read_bytes() for path in wheels}
    contents["__main__.py"] = (Path(__file__).parent / "start.py").read_bytes()
    digests = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in sorted(contents.items())]
    contents["build"] = hashlib.sha256("\n".join(digests).encode()).hexdigest().encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as stream:
        stream.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in sorted(contents.items()):
                archive.writestr(zipfile.ZipInfo(name, EPOCH), data)
    output.chmod(0o755)


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
