"""Which files stand around the code and are read for the review: by their names only."""

from __future__ import annotations

import re

from harness.review.source.module import UnreadableError

MAX_SURROUNDING_BYTES = 4 << 20

_REQUIREMENTS = re.compile(
    r"(.*[-_.])?requirements?([-_.].*)?\.(txt|in|lock)|constraints?([-_.].*)?\.txt", re.IGNORECASE
)
_ENVIRONMENT = re.compile(r"(.*[-_.])?(environment|conda)([-_.].*)?\.ya?ml", re.IGNORECASE)
_DOCKERFILE = re.compile(r"(Dockerfile|Containerfile)([-_.].*)?|.+\.(Dockerfile|Containerfile)", re.IGNORECASE)
_LOCKS = frozenset(("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "pixi.lock", "conda-lock.yml"))
_DECLARED = frozenset(("pyproject.toml", "Pipfile", "setup.py", "setup.cfg"))


def is_requirements(path: str) -> bool:
    """A file for `pip install -r`; in a folder `requirements/` every text file is one."""
    *folders, name = path.split("/")
    return bool(_REQUIREMENTS.fullmatch(name)) or (folders[-1:] == ["requirements"] and name.endswith((".txt", ".in")))


def is_environment(path: str) -> bool:
    """A file for `conda env create`."""
    name = path.rpartition("/")[2]
    return bool(_ENVIRONMENT.fullmatch(name)) and name not in _LOCKS


def is_dockerfile(path: str) -> bool:
    """A recipe of an image."""
    name = path.rpartition("/")[2]
    return bool(_DOCKERFILE.fullmatch(name)) and not name.endswith((".jinja", ".j2", ".py", ".md", ".sh"))


def is_shell(path: str) -> bool:
    """A shell script, by its name."""
    return path.endswith((".sh", ".bash"))


def is_own_lock(path: str) -> bool:
    """A lock in this project's layout: `lockfiles/<image>.lock`, or a base's."""
    return path.endswith(".lock") and path.split("/")[-2:-1] == ["lockfiles"]


def is_other_lock(path: str) -> bool:
    """The lock of another tool, which stands for the declarations beside it."""
    return path.rpartition("/")[2] in _LOCKS


def is_surrounding(path: str) -> bool:
    """Whether the review reads a file for what stands around the code."""
    return (
        is_requirements(path)
        or is_environment(path)
        or is_dockerfile(path)
        or is_shell(path)
        or is_own_lock(path)
        or is_other_lock(path)
        or path.rpartition("/")[2] in _DECLARED
    )


def decode_text(data: bytes) -> str:
    """A file's text, UTF-8 with or without a mark, or UTF-16 with one.

    Raises:
        UnreadableError: it is neither.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"no text: {error}") from error
    if "\0" in text:
        raise UnreadableError("it holds null bytes: no text")
    return text
