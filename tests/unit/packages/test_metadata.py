import zipfile

import pytest

from harness.documents.lockfile import digest_of, parse_lock
from harness.errors import HostError, UsageError
from harness.packages.metadata import licences_of, requirements_of
from harness.system.store import Store
from tests.made.archives import wheel
from tests.made.package_index import release


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def locked(store, data, name="tiny", version="1.0", keep=True):
    """A lock of one wheel with these bytes, which the store has."""
    digest = digest_of(data)
    if keep:
        with store.scratch("x") as folder:
            (folder / "wheel").write_bytes(data)
            store.add(folder / "wheel", digest, name)
    file = f"{name}-{version}-py3-none-any.whl"
    text = f"{name}=={version} --hash={digest}\n# wheel {name} {file} {len(data)} {digest}\n"
    return parse_lock(text, "x.lock")


def with_metadata(*lines, folder="tiny-1.0.dist-info"):
    text = "\n".join(["Metadata-Version: 2.4", "Name: Tiny", "Version: 1.0", *lines]) + "\n\nA long description.\n"
    return wheel((f"{folder}/METADATA", text.encode()), ("tiny.py", b""))


def test_requirements_are_those_that_the_wheel_declares(store):
    _, data = release("tiny", "1.0", requires=["six>=1", 'win; sys_platform == "win32"'])
    assert requirements_of(locked(store, data), store) == {"tiny": ("six>=1", 'win; sys_platform == "win32"')}


def test_a_wheel_that_needs_nothing_has_no_requirements(store):
    assert requirements_of(locked(store, with_metadata()), store) == {"tiny": ()}


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: other"], {"tiny": "MIT OR Apache-2.0"}),
        (["License: BSD 3-Clause"], {"tiny": "BSD 3-Clause"}),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: MIT License"], {"tiny": "MIT License"}),
        (["License: " + "long " * 40, "Classifier: License :: OSI Approved :: ISC"], {"tiny": "ISC"}),
        (["Classifier: Programming Language :: Python"], {}),
    ],
)
def test_a_licence_is_taken_from_where_it_is_said_best(store, lines, licence):
    assert licences_of(locked(store, with_metadata(*lines)), store) == licence


def test_metadata_of_a_vendored_distribution_is_not_the_wheels_own(store):
    inner = b"Metadata-Version: 2.1\nName: inner\nVersion: 9\nRequires-Dist: nothing\n"
    _, data = release("tiny", "1.0")
    with store.scratch("x") as folder:
        (folder / "w").write_bytes(data)
        with zipfile.ZipFile(folder / "w", "a") as archive:
            archive.writestr("tiny/_vendor/inner-9.dist-info/METADATA", inner)
        data = (folder / "w").read_bytes()
    assert requirements_of(locked(store, data), store) == {"tiny": ()}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"this is no archive", "torn"),
        (with_metadata()[:-40], "torn"),
        (wheel(("tiny.py", b"")), "0 METADATA"),
        (wheel(("a-1.dist-info/METADATA", b""), ("b-1.dist-info/METADATA", b"")), "2 METADATA"),
        (wheel(("tiny-1.0.dist-info/METADATA", b"x" * (5 << 20))), "larger than"),
        (release("other", "1.0")[1], "not tiny 1.0"),
        (release("tiny", "2.0")[1], "not tiny 1.0"),
        (wheel(("tiny-1.0.dist-info/METADATA", b"\xff\xfe no metadata")), "not tiny 1.0"),
    ],
)
def test_a_wheel_that_is_not_what_the_lock_says_is_one_clear_error(store, data, says):
    with pytest.raises(UsageError, match=says):
        requirements_of(locked(store, data), store)


def test_a_member_whose_bytes_are_damaged_is_refused(store):
    data = bytearray(with_metadata("License: " + "x" * 90))
    data[60] ^= 0xFF
    with pytest.raises(UsageError, match="torn"):
        requirements_of(locked(store, bytes(data)), store)


def test_an_archive_of_too_many_members_is_refused(store, monkeypatch):
    monkeypatch.setattr("harness.packages.metadata._MAX_MEMBERS", 1)
    with pytest.raises(UsageError, match="at most 1"):
        requirements_of(locked(store, with_metadata()), store)


def test_a_wheel_that_is_not_in_the_cache_is_said_to_be_missing(store):
    with pytest.raises(HostError, match=r"tiny-1\.0-py3-none-any\.whl is not in the cache"):
        requirements_of(locked(store, with_metadata(), keep=False), store)
