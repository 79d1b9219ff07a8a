import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.documents.lockfile import digest_of
from harness.errors import UsageError
from harness.images.image import BuildRecord
from harness.images.locks import check_locks, export_lock, lock_names
from harness.images.recipe import read_recipe
from harness.system.project import read_lock
from tests import ROOT
from tests.made.package_index import release
from tests.made.project import add_blob

SUFFIXES = {"requirements": "requirements.txt", "conda": "environment.yml"}


def check(root, store, *names):
    told = []
    return [(one.id, one.where) for one in check_locks(root, names, store, told.append)], told


def edit(root, name, old, new):
    path = root / "lockfiles" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def pip(*arguments):
    """Run pip without this machine's configuration and without a network."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment = {**clean, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"}
    options = ("--dry-run", "--no-deps", "--ignore-installed", *arguments)
    command = (sys.executable, "-m", "pip", "install", *options)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


@pytest.mark.parametrize("kind", sorted(SUFFIXES))
@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_committed_exports_are_what_the_locks_give_now(store, name, kind):
    path = ROOT / "lockfiles" / "export" / f"{name}.{SUFFIXES[kind]}"
    command = f"harness lock {name} --export {kind} > lockfiles/export/{path.name}"
    assert path.read_text() == export_lock(ROOT, name, kind, store, print), f"it is stale; write it again: {command}"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_pip_reads_the_committed_requirements_to_their_end(name):
    """Without a source pip stops at the first distribution, after it has read the whole file."""
    done = pip("-r", str(ROOT / "lockfiles" / "export" / f"{name}.requirements.txt"))
    assert done.returncode == 1
    first = min(pin.name for pin in read_lock(ROOT / "lockfiles" / f"{name}.lock").pins)
    assert f"No matching distribution found for {first}==" in done.stderr


def test_pip_would_refuse_requirements_that_are_broken_in_their_last_line(store, project, tmp_path):
    text = export_lock(project, "tiny", "requirements", store, print)
    (tmp_path / "broken.txt").write_text(f"{text}seven=1.0\n")
    done = pip("-r", str(tmp_path / "broken.txt"))
    assert "Invalid requirement" in done.stderr
    assert "No matching distribution" not in done.stderr


def test_pip_installs_an_export_and_holds_it_to_the_hashes(store, project, tmp_path):
    file, data = release("six", "1.0")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / file).write_bytes(data)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(export_lock(project, "tiny", "requirements", store, print))
    options = ("--find-links", str(tmp_path / "wheels"), "-r", str(requirements))
    done = pip(*options)
    assert "Would install six-1.0" in done.stdout, done.stderr
    (tmp_path / "wheels" / file).write_bytes(release("six", "1.0", content=b"changed")[1])
    assert "DO NOT MATCH THE HASHES" in pip(*options).stderr


def test_by_default_the_locks_of_images_and_bases_are_checked(project):
    (project / "lockfiles" / "harness.lock").write_text("nonsense\n")
    assert lock_names(project) == ("base-x", "tiny")


def test_a_sound_project_has_no_finding_and_it_is_said_what_was_not_checked(project, store):
    findings, told = check(project, store)
    assert findings == []
    assert told == ["tiny.lock: not all wheels are in the cache, so whether they fit together was not checked"]


def test_what_the_wheels_need_is_checked_where_they_are(project, store):
    file, data = release("six", "1.0", requires=["seven>=2"])
    digest = digest_of(data)
    text = f"# target: cp311-linux-x86_64\nsix==1.0 --hash={digest}\n# wheel six {file} {len(data)} {digest}\n"
    (project / "lockfiles" / "tiny.lock").write_text(text)
    assert check(project, store)[0] == []
    add_blob(store, data)
    assert check(project, store) == ([("LOCK005", "tiny.lock: six")], [])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tiny.lock", "six==1.0", "six>=1.0"),
        ("tiny.lock", "six==1.0", "six-changed==1.0"),
        ("tiny.lock", "# wheel six", "# wheel seven"),
        ("base-x.lock", "sha256:", "md5:"),
    ],
)
def test_a_lock_that_was_broken_by_hand_is_a_finding_among_the_others(project, store, name, old, new):
    edit(project, name, old, new)
    assert check(project, store)[0] == [("LOCK000", name)]


def test_a_lock_that_is_no_images_needs_no_wheels(project, store):
    (project / "lockfiles" / "tools.lock").write_text(f"six==1.0 --hash=sha256:{'a' * 64}\n")
    assert check(project, store, "tools") == ([], [])


def test_an_image_without_a_lock_is_a_finding(project, store):
    (project / "lockfiles" / "tiny.lock").unlink()
    assert check(project, store)[0] == [("LOCK000", "tiny.lock")]


def test_a_name_that_is_a_path_trick_is_refused(project, store):
    for name in ("../tiny", "/etc/passwd"):
        with pytest.raises(UsageError):
            check(project, store, name)
        with pytest.raises(UsageError):
            export_lock(project, name, "requirements", store, print)


def test_a_bill_names_licences_and_the_images_id_where_they_are_known(project, store):
    told = []
    before = json.loads(export_lock(project, "tiny", "cyclonedx", store, told.append))
    assert told == ["not all wheels are in the cache, so their licences are left out"]
    assert "version" not in before["metadata"]["component"]
    add_blob(store, release("six", "1.0")[1])
    image_id = "sha256:" + "a" * 64
    record = BuildRecord(image_id=image_id, built_at="", seconds=1.0, engine="")
    store.write_record("images", read_recipe(project, "tiny").key, record.to_json())
    after = json.loads(export_lock(project, "tiny", "cyclonedx", store, print))
    assert after["metadata"]["component"]["version"] == image_id
    assert {one["name"] for one in after["components"]} == {"six", "xx"}


def test_only_an_image_has_a_bill(project, store):
    (project / "lockfiles" / "tools.lock").write_text(f"six==1.0 --hash=sha256:{'a' * 64}\n")
    with pytest.raises(UsageError, match="no image"):
        export_lock(project, "tools", "cyclonedx", store, print)


def harness(root, store, *arguments):
    return CliRunner(env={"HARNESS_CACHE": str(store.root)}).invoke(
        cli, ["--root", str(root), *arguments], standalone_mode=False
    )


def test_the_command_prints_findings_with_remedies_and_answers_2(project, store):
    assert harness(project, store, "lock", "--check").return_value == 0
    edit(project, "tiny.lock", "# target: cp311-linux-x86_64", "# target: cp39-linux-x86_64")
    done = harness(project, store, "lock", "--check", "tiny")
    assert done.return_value == 2
    assert "LOCK001  tiny.lock" in done.stdout
    assert "remedy: " in done.stdout
    as_json = harness(project, store, "lock", "--check", "--json")
    assert as_json.return_value == 2
    assert [one["id"] for one in json.loads(as_json.stdout)] == ["LOCK001"]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--export", "conda"), ("a", "b", "--export", "conda"), ("tiny", "--check", "--upgrade"), ("tiny", "--json")],
)
def test_the_command_refuses_what_does_not_go_together(project, store, arguments):
    assert type(harness(project, store, "lock", *arguments).exception).__name__ == "UsageError"


def test_an_export_is_printed_and_nothing_else(project, store):
    done = harness(project, store, "lock", "tiny", "--export", "requirements")
    assert done.stdout == export_lock(project, "tiny", "requirements", store, print)


def test_where_there_is_no_lock_nothing_is_said_to_be_fine(store, tmp_path):
    with pytest.raises(UsageError, match="no lock"):
        check_locks(tmp_path, (), store, lambda _: None)
