import pytest

from harness.core.lockfile import (
    BasePackage,
    parse_base_lock,
    parse_lock,
    render_base_lock,
    render_pins,
)
from harness.errors import UsageError

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
GOOD = f"""#
# wheels: 2 files, 1234 bytes
Torch==2.13.0+cpu \\
    --hash={B} \\
    --hash={A}
    # via -r cpu.in
zope.interface==1.0 ; python_version < "4" --hash={A}
"""
PACKAGE = BasePackage(
    name="libc6",
    version="1:2.36-9+deb12u1",
    architecture="amd64",
    size_bytes=17,
    sha256=A,
    pool_path="pool/main/g/glibc/libc6_2.36-9+deb12u1_amd64.deb",
)


def test_a_lock_is_read_with_names_normalised_and_hashes_sorted():
    lock = parse_lock(GOOD, "x.lock")
    assert [(pin.name, pin.version, pin.hashes) for pin in lock.pins] == [
        ("torch", "2.13.0+cpu", (A, B)),
        ("zope-interface", "1.0", (A,)),
    ]
    assert lock.pins[0].local_label == "cpu"
    assert lock.pins[1].local_label == ""
    assert lock.pins[1].marker == 'python_version < "4"'
    assert (lock.num_wheels, lock.wheels_bytes) == (2, 1234)


def test_rendered_pins_are_read_back_as_they_were():
    pins = parse_lock(GOOD, "x.lock").pins
    assert parse_lock(render_pins(pins), "x.lock").pins == pins


def test_a_lock_without_requirements_is_read():
    assert parse_lock("# nothing\n\n", "x.lock").pins == ()


def test_comments_do_not_change_the_pins_but_the_digest():
    one, other = parse_lock(GOOD, "x"), parse_lock(GOOD + "# more\n", "x")
    assert one.pins == other.pins
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"torch>=2 --hash={A}", "not pinned"),
        (f"torch --hash={A}", "not pinned"),
        (f"torch==2.* --hash={A}", "not pinned"),
        (f"torch==2,!=3 --hash={A}", "not pinned"),
        (f"torch===2 --hash={A}", "not pinned"),
        (f"torch @ https://example.org/t.whl --hash={A}", "not pinned"),
        ("torch==2", "no sha256 hash"),
        ("torch==2 --hash=md5:" + "a" * 32, "no sha256 hash"),
        ("torch==2 --hash=sha256:abc", "no sha256 hash"),
        ("torch==2 --hash=" + A.upper(), "no sha256 hash"),
        (f"torch==2 --hash={A} --no-binary :all:", "something follows"),
        ("--index-url https://example.org", "an option"),
        ("-r other.lock", "an option"),
        ("-e .", "an option"),
        (f"!!! --hash={A}", "not a requirement"),
    ],
)
def test_a_line_that_is_not_pinned_and_hashed_is_named(line, says):
    with pytest.raises(UsageError) as caught:
        parse_lock(f"# comment\n\n{line}\n", "x.lock")
    assert says in str(caught.value)
    assert "x.lock, line 3" in str(caught.value)


def test_a_name_that_is_locked_twice_is_refused():
    with pytest.raises(UsageError, match=r"line 2.*twice"):
        parse_lock(f"a.b==1 --hash={A}\nA-B==2 --hash={A}\n", "x.lock")


def test_a_continued_last_line_is_not_lost():
    with pytest.raises(UsageError, match="line 1: torch has no sha256"):
        parse_lock("torch==2 \\", "x.lock")


def test_a_base_lock_is_read_back_as_it_was_written():
    other = BasePackage(name="a1", version="1", architecture="all", size_bytes=1, sha256=B, pool_path="pool/a/a_1.deb")
    text = render_base_lock((PACKAGE, other), "what it is\nand why")
    assert text.startswith("# what it is\n# and why\na1 1 all 1 ")
    lock = parse_base_lock(text, "base.lock")
    assert lock.packages == (other, PACKAGE)
    assert lock.size_bytes == 18


def test_an_empty_base_lock_is_refused():
    with pytest.raises(UsageError, match="no package is locked"):
        parse_base_lock("# nothing\n", "base.lock")


def test_a_package_that_is_locked_twice_is_refused():
    text = render_base_lock((PACKAGE,), "")
    with pytest.raises(UsageError, match="libc6 is locked twice"):
        parse_base_lock(text + text, "base.lock")


@pytest.mark.parametrize(
    ("position", "value", "says"),
    [
        (0, "Libc6", "'Libc6' is no name"),
        (1, "1;2", "'1;2' is no version"),
        (2, "arm64", "'arm64' is no architecture"),
        (3, "0", "'0' is no size"),
        (3, "-1", "'-1' is no size"),
        (4, "a" * 64, "is no sha256"),
        (5, "https://example.org/a.deb", "is no pool path"),
        (5, "pool/../../a.deb", "is no pool path"),
        (5, "/pool/a.deb", "is no pool path"),
    ],
)
def test_a_field_of_a_base_lock_that_is_not_as_it_must_be_is_named(position, value, says):
    fields = render_base_lock((PACKAGE,), "x").splitlines()[1].split()
    fields[position] = value
    with pytest.raises(UsageError) as caught:
        parse_base_lock("# x\n" + " ".join(fields), "base.lock")
    assert says in str(caught.value)
    assert "base.lock, line 2" in str(caught.value)


def test_a_line_of_a_base_lock_with_too_few_fields_is_named():
    with pytest.raises(UsageError, match=r"line 1: 2 fields instead of 6"):
        parse_base_lock("a b", "base.lock")
