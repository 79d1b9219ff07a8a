import pytest

from harness.documents.dockerfile import BaseReference, read_base, stand_on_argument
from harness.errors import UsageError

DIGEST = "sha256:" + "a" * 64
FROM = "ARG BASE=base-x\nFROM ${BASE}\n"


def test_a_dockerfile_names_the_lock_of_its_base():
    assert read_base("# x\n" + FROM, "Dockerfile") == BaseReference("base-x")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (f"debian@{DIGEST}", "debian"),
        (f"localhost:5000/a/b@{DIGEST}", "localhost:5000/a/b"),
        (f"registry.example.org/python:3.11-slim@{DIGEST}", "registry.example.org/python"),
    ],
)
def test_a_dockerfile_names_an_image_of_a_registry_by_its_digest(value, name):
    base = read_base(f"ARG BASE={value}\nFROM $BASE\n", "Dockerfile")
    assert base == BaseReference(name, DIGEST)
    assert base.pull == f"{name}@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not say which base"),
        ("FROM debian:12\n", "FROM debian:12 is not pinned"),
        ("# ARG BASE=x\nFROM ${BASE}\n", "does not say which base"),
        ("ARG BASE\nFROM ${BASE}\n", "does not say which base"),
        ("ARG BASE=base-x\n", "does not say which base"),
        ("ARG BASE=../x\nFROM ${BASE}\n", "names no base"),
        ("ARG BASE=debian:12\nFROM ${BASE}\n", "has no digest; what a tag points at can change"),
        ("ARG BASE=localhost:5000/debian\nFROM ${BASE}\n", "has no digest"),
        (f"ARG BASE=debian@{DIGEST[:-1]}\nFROM ${{BASE}}\n", "has no digest"),
        (FROM + "FROM alpine AS two\n", "line 3: FROM alpine AS two is not pinned"),
        (FROM + "ADD https://example.org/x.tar /x\n", "line 3: ADD fetches https://example.org/x.tar"),
        (FROM + "ADD git@example.org:x.git /x\n", "ADD fetches"),
        (FROM + "ADD --chown=1:1 HTTP://example.org/x /x\n", "ADD fetches"),
        (FROM + "RUN true \\\n  && true\nCOPY --from=busybox /x /x\n", "line 5: COPY takes files from the image busy"),
        (FROM + "COPY --from=0 /x /x\n", "COPY takes files from the image 0"),
    ],
)
def test_what_a_dockerfile_would_fetch_by_itself_is_refused_with_its_line(text, says):
    with pytest.raises(UsageError) as caught:
        read_base(text, "Dockerfile")
    assert says in str(caught.value)


def test_stages_that_stand_on_the_base_or_on_each_other_or_on_nothing_are_taken():
    text = FROM.strip() + " AS Made\nRUN x\nFROM scratch\nFROM made AS two\nCOPY --from=made /a /a\n"
    text += "COPY --from=0 /b /b\n"
    assert read_base(text + "ADD a.tar /\nCOPY https:/x /y\n", "Dockerfile").name == "base-x"


def test_from_may_name_the_image_of_a_registry_itself():
    text = f"# syntax=x\nFROM --platform=linux/amd64 python:3.12-slim@{DIGEST} AS one\n"
    text += f"RUN <<E\nFROM x@{DIGEST}\nE\nFROM one\n"
    assert read_base(text, "Dockerfile") == BaseReference("python", DIGEST)
    standing = stand_on_argument(text)
    assert standing.startswith("# syntax=x\nARG BASE\nFROM --platform=linux/amd64 ${BASE} AS one\nRUN <<E\nFROM x@")
    assert stand_on_argument(standing) == standing
    with pytest.raises(UsageError, match=r"line 2: FROM other@sha256:a+ is a second base"):
        read_base(f"FROM python@{DIGEST}\nFROM other@{DIGEST}\n", "Dockerfile")
