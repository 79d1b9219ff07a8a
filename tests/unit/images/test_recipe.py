import os

import pytest

from harness.documents.lockfile import render_base_lock
from harness.errors import UsageError
from harness.images.layer_tar import read_contents
from harness.images.recipe import build_context, read_recipe
from harness.system.project import STOCK
from tests.made.archives import base_of, deb, member

HASH = "sha256:" + "a" * 64


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "images" / "tiny").mkdir(parents=True)
    (root / "lockfiles").mkdir()
    (root / "images" / "tiny" / "Dockerfile").write_text("ARG BASE=base-x\nFROM ${BASE}\n")
    (root / "images" / "tiny" / "script.py").write_text("pass\n")
    (root / "lockfiles" / "tiny.lock").write_text(f"a==1 --hash={HASH}\n")
    lock, _ = base_of(tmp_path, xx=deb("xx", member("x", b"x")))
    (root / "lockfiles" / "base-x.lock").write_text(render_base_lock(lock.packages, "x"))
    return root


def key(project):
    return read_recipe(project, "tiny").key


@pytest.mark.parametrize(
    "name", ["images/tiny/Dockerfile", "images/tiny/script.py", "lockfiles/tiny.lock", "lockfiles/base-x.lock"]
)
def test_the_key_depends_on_every_file(project, name):
    before = key(project)
    (project / name).write_text((project / name).read_text() + "# more\n")
    assert key(project) != before


def test_the_key_depends_on_which_files_there_are_and_which_can_be_executed(project):
    before = key(project)
    (project / "images" / "tiny" / "more").touch()
    more = key(project)
    (project / "images" / "tiny" / "more").chmod(0o755)
    assert len({before, more, key(project)}) == 3


def test_the_key_depends_neither_on_times_nor_on_caches_nor_on_where_the_project_is(project, tmp_path):
    before = key(project)
    for path in project.rglob("*"):
        os.utime(path, (1, 1))
    (project / "images" / "tiny" / "__pycache__").mkdir()
    (project / "images" / "tiny" / "__pycache__" / "script.pyc").write_bytes(b"x")
    project.rename(tmp_path / "elsewhere")
    assert key(tmp_path / "elsewhere") == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("images/tiny/Dockerfile", "there is no file .*Dockerfile"),
        ("lockfiles/tiny.lock", r"there is no file .*tiny\.lock"),
        ("lockfiles/base-x.lock", r"there is no file .*base-x\.lock"),
    ],
)
def test_a_file_that_is_not_there_is_named(project, name, says):
    (project / name).unlink()
    with pytest.raises(UsageError, match=says) as caught:
        read_recipe(project, "tiny")
    assert caught.value.remedy


def test_an_image_that_climbs_out_of_the_project_is_refused(project):
    with pytest.raises(UsageError, match="not a name for an image"):
        read_recipe(project, "../tiny")


def test_a_link_in_an_images_folder_is_refused(project):
    (project / "images" / "tiny" / "link").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="is a link"):
        read_recipe(project, "tiny")


def test_the_context_holds_the_images_files_the_common_ones_the_chosen_wheels_and_their_pins(project, tmp_path):
    (project / "images" / "common.py").write_text("common\n")
    lock = project / "lockfiles" / "tiny.lock"
    lock.write_text(f"a==1 --hash={HASH} --hash=sha256:{'b' * 64}\n# wheel a a-1-py3-none-any.whl 5 {HASH}\n")
    (tmp_path / "blob").write_bytes(b"wheel")
    entries = build_context(read_recipe(project, "tiny"), (tmp_path / "blob",), tmp_path)
    contents = {entry.path: b"".join(read_contents(entry)) for entry in entries if entry.kind == "file"}
    assert contents == {
        "Dockerfile": b"ARG BASE=base-x\nFROM ${BASE}\n",
        "script.py": b"pass\n",
        "common.py": b"common\n",
        "precompile.py": (STOCK / "precompile.py").read_bytes(),
        "requirements.lock": f"a==1 --hash={HASH}\n".encode(),
        "wheels/a-1-py3-none-any.whl": b"wheel",
    }


def test_an_image_of_which_the_project_has_the_lock_alone_has_the_dockerfile_and_the_base_of_the_package(project):
    (project / "lockfiles" / "cpu.lock").write_text(f"a==1 --hash={HASH}\n")
    recipe = read_recipe(project, "cpu")
    assert [entry.path for entry in recipe.files] == ["Dockerfile", "precompile.py"]
    assert recipe.base.name == "base-bookworm" and len(recipe.base_lock.packages) > 10
    (project / "lockfiles" / "base-bookworm.lock").write_text((project / "lockfiles" / "base-x.lock").read_text())
    assert read_recipe(project, "cpu").base_lock == read_recipe(project, "tiny").base_lock


def test_an_image_says_which_locks_and_which_base_it_is_made_from(project):
    recipe = read_recipe(project, "tiny")
    assert recipe.labels == {
        "org.opencontainers.image.base.name": "base-x",
        "repro-harness.lock": recipe.lock.digest,
        "repro-harness.base-lock": recipe.base_lock.digest,
    }


def test_an_image_on_a_registrys_base_needs_no_base_lock_and_names_the_digest(project):
    before = key(project)
    (project / "images" / "tiny" / "Dockerfile").write_text(f"ARG BASE=debian@{HASH}\nFROM ${{BASE}}\n")
    (project / "lockfiles" / "base-x.lock").unlink()
    recipe = read_recipe(project, "tiny")
    assert (recipe.base_lock, recipe.base.digest, recipe.key != before) == (None, HASH, True)
    assert recipe.labels["org.opencontainers.image.base.digest"] == HASH
