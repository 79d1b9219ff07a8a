import pytest

from harness.documents.lockfile import parse_lock
from harness.documents.platform import USUAL
from harness.review.lock_rules import lint_lock, on_base, target_tags, unmet
from tests import ROOT

HASH = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def lock_of(*pins, wheels=None, target="cp311-linux-x86_64"):
    """A lock of `name==version`, each with a wheel for everywhere unless `wheels` says another file name or None."""
    chosen = dict(wheels or {})
    lines, table = [f"# target: {target}"] if target else [], []
    for pin in pins:
        requirement = pin.split(" ;")[0]
        name, version = requirement.replace("===", "==").split("==")
        lines.append(f"{pin} --hash={HASH}")
        if file := chosen.get(name, f"{name.replace('-', '_')}-{version}-py3-none-any.whl"):
            table.append(f"# wheel {name} {file} 17 {HASH}")
    return parse_lock("\n".join([*lines, *table]) + "\n", "x.lock")


def ids(findings):
    return [finding.id for finding in findings]


def lint(*pins, **options):
    return lint_lock(lock_of(*pins, **options), "x.lock")


def test_a_lock_with_one_wheel_of_each_for_the_target_has_no_finding():
    wheels = {
        "numpy": "numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "psutil": "psutil-7.2.2-cp36-abi3-manylinux2010_x86_64.whl",
        "torch": "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
    }
    assert lint("numpy==2.4.6", "psutil==7.2.2", "torch==2.13.0+cpu", "six==1.0", wheels=wheels) == ()


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_this_projects_own_locks_have_no_finding(name):
    path = ROOT / "lockfiles" / f"{name}.lock"
    lock = parse_lock(path.read_text(), path.name)
    assert lint_lock(lock, path.name) == ()
    assert len(lock.wheels) == len(lock.pins) > 40


@pytest.mark.parametrize("target", ["", "cp39-linux-x86_64", "cp314-linux-x86_64", "cp311-darwin-arm64"])
def test_a_lock_for_another_target_or_none_is_found(target):
    findings = lint("six==1.0", target=target)
    assert ids(findings) == ["LOCK001"]
    assert "CPython 3.10 to 3.13 on linux-x86_64" in findings[0].problem


def test_a_pin_without_a_wheel_is_found_and_named():
    findings = lint("six==1.0", "tqdm==4.0", wheels={"six": None})
    assert [(one.id, one.where) for one in findings] == [("LOCK002", "x.lock: six")]


@pytest.mark.parametrize(
    ("marker", "expected"),
    [('sys_platform == "win32"', []), ('python_version >= "3.8"', ["LOCK002"]), ('platform_release > "5"', [])],
)
def test_a_pin_with_a_marker_needs_a_wheel_only_where_the_marker_surely_holds(marker, expected):
    assert ids(lint(f"six==1.0 ; {marker}", wheels={"six": None})) == expected


@pytest.mark.parametrize("file", ["six-1.1-py3-none-any.whl", "seven-1.0-py3-none-any.whl", "six-1.0-any.whl"])
def test_a_wheel_that_is_another_version_or_distribution_or_no_wheel_is_found(file):
    assert ids(lint("six==1.0", wheels={"six": file})) == ["LOCK003"]


@pytest.mark.parametrize(
    "tag",
    [
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-manylinux_2_37_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-win_amd64",
        "cp312-abi3-manylinux_2_17_x86_64",
        "cp311-cp311t-manylinux_2_17_x86_64",
        "py2-none-any",
    ],
)
def test_a_wheel_that_does_not_run_on_the_target_is_found(tag):
    assert ids(lint("six==1.0", wheels={"six": f"six-1.0-{tag}.whl"})) == ["LOCK004"]


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-manylinux_2_36_x86_64",
        "cp311-cp311-manylinux1_x86_64",
        "cp311-none-manylinux2014_x86_64",
        "cp39-abi3-manylinux_2_28_x86_64",
        "py3-none-manylinux_2_18_x86_64",
        "py3-none-linux_x86_64",
        "py2.py3-none-any",
        "py311-none-any",
    ],
)
def test_a_wheel_that_runs_on_the_target_is_not_found(tag):
    assert lint("six==1.0", wheels={"six": f"six-1.0-{tag}.whl"}) == ()


def test_wheels_and_markers_are_judged_by_the_python_that_the_lock_is_for():
    wheels = {"six": "six-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", "new": None}
    options = {"wheels": wheels, "target": "cp312-linux-x86_64"}
    assert ids(lint("six==1.0", **options)) == []
    assert ids(lint("six==1.0", "new==1.0 ; python_version >= '3.12'", **options)) == ["LOCK002"]
    wheels["six"] = "six-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    assert [one.problem for one in lint("six==1.0", **options)] == [
        f"{wheels['six']} does not run on cp312-linux-x86_64 with glibc 2.36"
    ]
    lock = lock_of("six==1.0", target="cp312-linux-x86_64")
    assert ids(needs(lock, six=["new; python_version >= '3.12'"])) == ["LOCK005"]
    assert ids(needs(lock, python="3.11.2", six=["new; python_version < '3.12'"])) == [], "another Python's version"


@pytest.mark.parametrize(
    ("target", "version", "expected"),
    [
        ("cp312-linux-x86_64", "3.11.2", ["LOCK008"]),
        ("cp312-linux-x86_64", "3.12", []),
        ("cp312-linux-x86_64", "", []),
        ("", "3.13.5", ["LOCK008"]),
    ],
)
def test_a_lock_for_another_python_than_its_bases_is_found(target, version, expected):
    found = on_base(lock_of("six==1.0", target=target), version, "base-x", "tiny.lock")
    assert ids(found) == expected
    for one in found:
        assert "the base base-x has Python" in one.problem and "images/tiny/Dockerfile" in one.remedy


def test_the_targets_tags_are_those_that_pip_itself_takes_for_it():
    """Against packaging's own view of this interpreter, where it is the target."""
    import platform
    import sys

    from packaging.tags import sys_tags

    if sys.version_info[:2] != (3, 11) or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        pytest.skip("this interpreter is not the target")
    minor = int(platform.libc_ver()[1].split(".")[1])
    own = {tag for tag in sys_tags() if "manylinux_2_" not in tag.platform or int(tag.platform.split("_")[2]) <= 36}
    wanted = {
        tag for tag in target_tags(USUAL) if "_2_" not in tag.platform or int(tag.platform.split("_")[2]) <= minor
    }
    assert own == wanted


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        (["nvidia-cudnn-cu12==9.1", "nvidia-cublas==13.1"], ["CUDA001"]),
        (["nvidia-cudnn-cu12==9.1", "nvidia-cublas-cu12==12.1", "nvidia-cuda-runtime-cu12==12.4.1"], []),
        (["nvidia-cudnn-cu13==9.1", "nvidia-cublas==13.1", "nvidia-cufft==12.0", "nvidia-cusparse==12.6"], []),
        (["torch==2.13.0+cpu", "nvidia-cublas==13.1"], ["CUDA002"]),
        (["torch==2.13.0+rocm7.0", "nvidia-cublas==13.1"], ["CUDA002"]),
        (["torch==2.13.0+cpu", "nvidia-ml-py==13.615.71"], []),
        (["torch==2.9.0+cu126", "nvidia-cuda-runtime-cu12==12.8.90"], ["CUDA003"]),
        (["torch==2.9.0+cu128", "nvidia-cuda-runtime-cu12==12.8.90"], []),
        (["torch===2.13.0", "nvidia-cuda-runtime==13.0.96"], []),
        (["nvidia-cuda-runtime==14.0.1"], ["CUDA004"]),
    ],
)
def test_cuda_torch_and_driver_go_together_or_are_found(pins, expected):
    wheels = {"torch": f"{pins[0].replace('===', '-').replace('==', '-')}-cp311-cp311-manylinux_2_28_x86_64.whl"}
    findings = lint(*pins, wheels=wheels)
    assert ids(findings) == expected
    assert all(finding.remedy for finding in findings)


def needs(lock, python="", **requirements):
    return unmet({name.replace("_", "-"): tuple(lines) for name, lines in requirements.items()}, lock, "x.lock", python)


def test_what_is_locked_as_it_is_needed_is_no_finding():
    lock = lock_of("a==1.5", "b==2.0+cpu", "c==3.0rc1")
    assert needs(lock, a=["b (==2.0)", "c>=2; python_version>'3.8'"], b=["A<2"], c=[]) == ()


def test_a_requirement_that_is_not_locked_is_found():
    findings = needs(lock_of("a==1"), a=["b>=2", "b>=2 ; python_version > '3'"])
    assert [(one.id, one.where) for one in findings] == [("LOCK005", "x.lock: a")]
    assert findings[0].problem == "it needs b>=2, which is not locked"


def test_a_requirement_that_is_locked_at_another_version_is_found_with_both():
    findings = needs(lock_of("a==1", "b==1.9"), a=["b>=2"])
    assert ids(findings) == ["LOCK006"]
    assert "b>=2" in findings[0].problem
    assert "1.9" in findings[0].problem


@pytest.mark.parametrize(
    "marker",
    ['sys_platform == "win32"', 'python_version < "3.11"', 'platform_machine == "aarch64"', 'extra == "test"'],
)
def test_what_other_platforms_and_unwanted_extras_need_is_not_needed(marker):
    assert needs(lock_of("a==1"), a=[f"b; {marker}"]) == ()


def test_an_extra_that_a_locked_distribution_asks_for_is_needed_and_so_is_the_extra_it_asks_for():
    lock = lock_of("app==1", "client==1")
    client = ["client[fast]; extra == 'all'", "wire>=2; extra == 'fast'", "other; extra == 'unasked'"]
    assert ids(needs(lock, app=["client[all]"], client=client)) == ["LOCK005"]
    assert needs(lock, app=["client"], client=client) == ()


def test_the_last_number_of_python_counts_where_it_is_known_and_is_no_guess_where_not():
    lock = lock_of("a==1")
    assert needs(lock, a=["b; python_full_version < '3.11.3'"]) == ()
    assert ids(needs(lock, python="3.11.2", a=["b; python_full_version < '3.11.3'"])) == ["LOCK005"]
    assert needs(lock, python="3.11.5", a=["b; python_full_version < '3.11.3'"]) == ()


def test_a_pin_that_is_locked_for_another_platform_only_does_not_satisfy():
    lock = lock_of("a==1", 'b==2 ; sys_platform == "win32"', wheels={"b": None})
    findings = needs(lock, a=["b"])
    assert ids(findings) == ["LOCK005"]
    assert "win32" in findings[0].problem


@pytest.mark.parametrize("marker", ['platform_release > "5"', 'python_full_version < "3.11.3"'])
def test_a_pin_whose_marker_cannot_be_told_is_given_the_benefit_of_the_doubt(marker):
    lock = lock_of("a==1", f"b==2 ; {marker}", wheels={"b": None})
    assert needs(lock, a=["b"]) == ()


def test_a_line_that_is_no_requirement_is_found():
    assert ids(needs(lock_of("a==1"), a=["b >> 2"])) == ["LOCK007"]


def test_a_requirement_on_a_url_is_satisfied_by_whatever_is_locked():
    assert needs(lock_of("a==1", "b==2"), a=["b @ https://example.org/b.whl"]) == ()
