import pytest

from harness.documents.lockfile import (
    BasePackage,
    Wheel,
    parse_base_lock,
    parse_lock,
    render_base_lock,
    render_pins,
    render_wheels,
)
from harness.errors import UsageError

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
WHEEL = Wheel(filename="torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", size_bytes=1234, sha256=B)
GOOD = f"""# installed: 4321 bytes
# target: cp311-linux-x86_64
# resolved as of 2026-11-23T08:00:00Z
#
Torch==2.13.0+cpu \\
    --hash={B} \\
    --hash={A}
    # via -r cpu.in
zope.interface==1.0 ; python_version < "4" --hash={A}
{render_wheels({"torch": WHEEL})}"""
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


def test_a_lock_names_the_wheels_of_its_target_and_when_it_was_resolved():
    lock = parse_lock(GOOD, "x.lock")
    assert [pin.wheel for pin in lock.pins] == [WHEEL, None]
    assert (lock.wheels, lock.wheels_bytes, lock.installed_bytes) == ((WHEEL,), 1234, 4321)
    assert (str(lock.target), lock.as_of) == ("cp311-linux-x86_64", "2026-11-23T08:00:00Z")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (f"# wheel torch x.whl 12 {A[:-1]}", "names no wheel"),
        (f"# wheel torch ../x.whl 12 {A}", "names no wheel"),
        (f"# wheel torch x.whl 0 {A}", "names no wheel"),
        (f"# wheel torch x.whl 12 {A}\n# wheel torch y.whl 12 {B}", "a second wheel of torch"),
        (f"# wheel numpy x.whl 12 {A}", "numpy is not locked"),
        (f"# wheel torch x.whl 12 sha256:{'c' * 64}", "the hash of x.whl is not among those of torch"),
    ],
)
def test_a_table_of_wheels_that_was_edited_by_hand_is_refused(table, says):
    with pytest.raises(UsageError, match=says):
        parse_lock(f"torch==1 --hash={A} --hash={B}\n{table}\n", "x.lock")


def test_three_equals_signs_pin_as_well():
    (pin,) = parse_lock(f"torch===2.13.0 --hash={A}", "x.lock").pins
    assert (pin.name, pin.version) == ("torch", "2.13.0")


def test_rendered_pins_are_read_back_as_they_were():
    lock = parse_lock(GOOD, "x.lock")
    again = parse_lock(render_pins(lock.pins) + render_wheels({"torch": WHEEL}), "x.lock")
    assert again.pins == lock.pins
    assert again.pins_digest == lock.pins_digest
    assert again.digest != lock.digest


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
        (f"torch==2.* --hash={A}", "not pinned"),
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
        (0, "Libc6", "'Libc6' is not a valid name"),
        (1, "1;2", "'1;2' is not a valid version"),
        (2, "arm64", "'arm64' is not a valid architecture"),
        (3, "0", "'0' is not a valid size"),
        (3, "-1", "'-1' is not a valid size"),
        (4, "a" * 64, "is not a valid sha256"),
        (5, "https://example.org/a.deb", "is not a valid pool path"),
        (5, "pool/../../a.deb", "is not a valid pool path"),
        (5, "/pool/a.deb", "is not a valid pool path"),
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
