"""Programs of Debian that a test needs beside the engine: a registry, skopeo, podman."""

import os
import shutil
import subprocess

import pytest


def need(program, *packages):
    """Have a program, installed from the distribution where that can be done; else the test is skipped, and says so."""
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"{program} is not here, and only root on Debian could install it")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", "install", "-y", "--no-install-recommends", *packages]
    if subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
        subprocess.run(["apt-get", "-q", "update"], env=environment, capture_output=True, check=True)
        subprocess.run(command, env=environment, capture_output=True, check=True)
