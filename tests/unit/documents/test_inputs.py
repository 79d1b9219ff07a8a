import pytest
from pydantic import ValidationError

from harness.documents.experiment import DeclaredInput
from harness.documents.inputs import Input, check_input
from harness.errors import UsageError

DIGEST = "sha256:" + "a" * 64
FILE = {"name": "text", "kind": "file", "reference": "data/text.txt", "sha256": DIGEST}
PACKAGE = {"name": "words", "kind": "deb", "reference": "wamerican", "version": "2020.12.07-2", "sha256": DIGEST}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = {"name": "model", "kind": "hf", "reference": "owner/name-1.0_x", "version": COMMIT, "sha256": DIGEST}
URL = {"name": "corpus", "kind": "https", "reference": "https://host.example/a/b.txt?x=1", "sha256": DIGEST}


@pytest.mark.parametrize(
    "fields",
    [
        FILE,
        {**FILE, "reference": "/data/text.txt"},
        {**FILE, "kind": "folder", "sha256": ""},
        PACKAGE,
        {**PACKAGE, "kind": "pypi", "reference": "Some.Package"},
        REPOSITORY,
        {**REPOSITORY, "patterns": ("*.json", "data/*", ".gitattributes"), "repo_type": "dataset"},
        URL,
        {**URL, "reference": "https://127.0.0.1:8443/a%20b/@latest/c.gz"},
        {**URL, "reference": "https://[::1]:443/monkey?keyboard=de"},
    ],
)
def test_a_well_formed_input_is_taken_as_it_is(fields):
    value = Input(**fields)
    assert check_input(value) is value


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({**FILE, "name": "../x"}, "no such name"),
        ({**FILE, "name": ""}, "no such name"),
        ({**FILE, "kind": "ftp"}, "unknown kind"),
        ({**FILE, "sha256": "a" * 64}, "sha256 is"),
        ({**FILE, "sha256": "sha256:" + "A" * 64}, "sha256 is"),
        ({**FILE, "reference": "a/../../b"}, "neither a path below"),
        ({**FILE, "reference": ""}, "neither a path below"),
        ({**FILE, "version": "1"}, "neither a path below"),
        ({**PACKAGE, "reference": "a b"}, "not a package name"),
        ({**PACKAGE, "reference": "--index-url=x"}, "not a package name"),
        ({**PACKAGE, "version": ""}, "not an exact version"),
        ({**PACKAGE, "version": ">=1"}, "not an exact version"),
        ({**PACKAGE, "version": "1 --hash"}, "not an exact version"),
        ({**PACKAGE, "patterns": ("*",)}, "only a repository has patterns"),
        ({**URL, "repo_type": "dataset"}, "only a repository has patterns"),
        ({**FILE, "reference": "a\0b"}, "neither a path below"),
        ({**URL, "reference": "http://host.example/a"}, "not an https URL"),
        ({**URL, "reference": "file:///etc/passwd"}, "not an https URL"),
        ({**URL, "reference": "https://host.example/a#b"}, "has a fragment"),
        ({**URL, "reference": "https://host.example:0/a"}, "not the URL of a file"),
        ({**URL, "reference": "https://host.example:65536/a"}, "not the URL of a file"),
        ({**URL, "reference": "https://host.example:x/a"}, "not the URL of a file"),
        ({**URL, "reference": "https://host.example"}, "not the URL of a file"),
        ({**URL, "reference": "https:///a"}, "not the URL of a file"),
        ({**URL, "reference": "https://host.example/a b"}, "not the URL of a file"),
        ({**URL, "reference": "https://host.example/a\r\nX: y"}, "not the URL of a file"),
        ({**URL, "reference": "https://host.example/" + "a" * 3000}, "not the URL of a file"),
        ({**URL, "version": "1"}, "a URL has no version"),
        ({**REPOSITORY, "version": "main"}, "'main' is not a commit; a branch or a tag can move"),
        ({**REPOSITORY, "version": COMMIT[:12]}, "is not a commit"),
        ({**REPOSITORY, "version": COMMIT.upper()}, "is not a commit"),
        ({**REPOSITORY, "reference": "name"}, "not a repository"),
        ({**REPOSITORY, "reference": "a/b/c"}, "not a repository"),
        ({**REPOSITORY, "reference": "../name"}, "not a repository"),
        ({**REPOSITORY, "reference": "a/b..c"}, "not a repository"),
        ({**REPOSITORY, "reference": "https://host.example/a"}, "not a repository"),
        ({**REPOSITORY, "repo_type": "space"}, "unknown repo_type 'space'"),
        ({**REPOSITORY, "patterns": ("../*",)}, "is not a pattern"),
        ({**REPOSITORY, "patterns": ("/etc/*",)}, "is not a pattern"),
        ({**REPOSITORY, "patterns": ("",)}, "is not a pattern"),
        ({**REPOSITORY, "patterns": ("*.json",) * 101}, "101 patterns"),
    ],
)
def test_a_malformed_input_is_refused_by_name(fields, says):
    with pytest.raises(UsageError, match=says) as caught:
        check_input(Input(**fields))
    assert repr(fields["name"]) in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cret@host.example/a",
        "https://s3cret@host.example/a",
        "ftp://user:s3cret@host.example/a",
        "https://host.example/a?X-Amz-Signature=s3cret",
        "https://host.example/a?x=1&access_token=s3cret",
        "https://host.example/a?sig=s3cret",
    ],
)
def test_a_url_with_a_credential_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="holds a credential") as caught:
        check_input(Input(**{**URL, "reference": url}))
    assert "s3cret" not in str(caught.value)


def test_a_commit_that_is_missing_says_where_to_find_it():
    with pytest.raises(UsageError) as caught:
        check_input(Input(**{**REPOSITORY, "version": "main"}))
    assert "git ls-remote" in caught.value.remedy


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"file": "a.txt"}, {"kind": "file", "reference": "a.txt"}),
        ({"https": "https://host.example/a"}, {"kind": "https", "reference": "https://host.example/a"}),
        ({"hf": "a/b", "revision": COMMIT}, {"kind": "hf", "reference": "a/b", "version": COMMIT}),
        (
            {"hf": "a/b", "revision": COMMIT, "files": ("*.json",), "repo_type": "dataset"},
            {"kind": "hf", "reference": "a/b", "version": COMMIT, "patterns": ("*.json",), "repo_type": "dataset"},
        ),
    ],
)
def test_what_is_declared_is_what_is_fetched(declared, expected):
    assert DeclaredInput(sha256="a" * 64, **declared).named("x") == Input(name="x", sha256=DIGEST, **expected)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({}, "exactly one of file, folder, pypi, deb, hf and https"),
        ({"file": "a", "https": "https://host.example/a"}, "exactly one of"),
        ({"hf": "a/b", "pypi": "b", "revision": COMMIT}, "exactly one of"),
        ({"hf": "a/b"}, "hf needs `revision`"),
        ({"hf": "a/b", "version": COMMIT}, "`version` goes with pypi and deb"),
        ({"file": "a", "version": "1"}, "`version` goes with pypi and deb"),
        ({"file": "a", "revision": COMMIT}, "`revision` goes with hf"),
        ({"https": "https://host.example/a", "files": ("*",)}, "`files` goes with hf"),
        ({"deb": "a", "version": "1", "repo_type": "model"}, "`repo_type` goes with hf"),
        ({"hf": "a/b", "revision": COMMIT, "repo_type": "space"}, "'model' or 'dataset'"),
        ({"hf": "a/b", "revision": COMMIT, "files": ()}, "at least 1 item"),
    ],
)
def test_a_combination_that_means_nothing_is_refused(declared, says):
    with pytest.raises(ValidationError, match=says):
        DeclaredInput(sha256="a" * 64, **declared)
