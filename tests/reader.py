"""Following a document: every block that a reader would type is run, in order, in a fresh clone."""

import os
import re
import shlex
import shutil
import subprocess

from tests import ROOT

READER = {
    "GIT_AUTHOR_NAME": "reader",
    "GIT_AUTHOR_EMAIL": "reader@example.org",
    "GIT_COMMITTER_NAME": "reader",
    "GIT_COMMITTER_EMAIL": "reader@example.org",
}
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document):
    for language, attributes, body in BLOCK.findall((ROOT / document).read_text()):
        words = [word.partition("=")[::2] for word in shlex.split(attributes)]
        yield language, words, body


def write(root, name, body):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(body)


def patch(root, name, body):
    """Apply `-old` / `+new` lines: each run of removals is replaced by the additions that follow it."""
    text = (root / name).read_text()
    for removed, added in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", body, re.MULTILINE):
        old = "\n".join(line[1:] for line in removed.splitlines())
        new = "\n".join(line[1:] for line in added.splitlines())
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (root / name).write_text(text)


def run(root, body, words):
    result = subprocess.run(
        ["bash", "-ec", body],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=1200,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **READER, "XDG_CONFIG_HOME": str(root.parent / "config")},
    )
    said = result.stdout + result.stderr
    assert result.returncode == int(dict(words).get("expect", 0)), said
    for key, value in words:
        if key == "contains":
            assert value in said, said


def follow(root, document):
    """Do what a document says; the number of commands that were run."""
    num_run = 0
    for _, words, body in blocks(document):
        keys = dict(words)
        if "file" in keys:
            write(root, keys["file"], body)
        elif "patch" in keys:
            patch(root, keys["patch"], body)
        elif "run" in keys:
            run(root, body, words)
            num_run += 1
    return num_run


def fresh_clone(project, root):
    """This checkout's files on top of its history, with its environment instead of another of the same lock."""
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(ROOT), str(root)], check=True)
    shutil.copytree(project.root, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    for command in (["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "as it stands here"]):
        subprocess.run(["git", "-C", str(root), *command], check=True, env={**os.environ, **READER})
    (root / ".venv").symlink_to(ROOT / ".venv")
    os.utime(root / "lockfiles" / "harness.lock", (0, 0))  # make must not take that environment for outdated
    return root
