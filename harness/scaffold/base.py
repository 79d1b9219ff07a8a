"""The Dockerfile of an image whose Python is not the usual one: the base is an image of a registry, by its digest."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from docker.errors import DockerException
from requests.exceptions import RequestException

from harness.errors import HostError
from harness.scaffold.requirements import python_images
from harness.system import engine
from harness.system.project import STOCK, read_text

_TIMEOUT_S = 20
_HEAD = """# Training on a base of a registry, with its Python; the rest is the Dockerfile that comes with the harness.

FROM {base}
"""
_STDLIB = """"$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')\""""


def dockerfile_on(python: str, root: Path) -> str | None:
    """The Dockerfile on the image of this series that the repository's own one names, else on the slim one.

    None where the digest is in no file and no engine can ask the registry for it.
    """
    named = (name for name, series in python_images(root) if series == python and "alpine" not in name)
    reference = next(named, f"python:{python}-slim")
    pinned = reference if "@sha256:" in reference else _pinned(reference)
    return dockerfile(pinned) if pinned else None


def dockerfile(base: str) -> str:
    """The stock Dockerfile on a base `name@sha256:...` whose Python lies anywhere on PATH."""
    text = read_text(STOCK / "Dockerfile", "install the package again")
    text = _HEAD.format(base=base) + text[text.index("ENV ") :]
    text = text.replace("PATH=/opt/venv/bin:", "PATH=/opt/venv/bin:/usr/local/bin:")
    return re.sub(r"(?<=precompile\.py /opt/venv/lib) [^;]*", lambda _: f" {_STDLIB}", text)


def _pinned(reference: str) -> str:
    with contextlib.suppress(HostError, DockerException, RequestException, LookupError):
        client = engine.connect(timeout_s=_TIMEOUT_S)
        with contextlib.closing(client):
            found = client.api.inspect_distribution(reference)  # type: ignore[no-untyped-call]
            return f"{reference}@{found['Descriptor']['digest']}"
    return ""
