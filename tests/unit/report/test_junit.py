from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.junit import render_junit
from tests.made import hostile
from tests.made import report_data as data


def parsed(verdict: Verdict, manifest: Manifest | None = None) -> ET.Element:
    root = ET.fromstring(render_junit(verdict, manifest))
    check_structure(root)
    return root


def check_structure(root: ET.Element) -> None:
    """What every reader of JUnit's XML relies on: names, and counts that are those of the children."""
    assert root.tag == "testsuites"
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    tags = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for suite in root:
        assert suite.tag == "testsuite"
        assert suite.get("name")
        cases = suite.findall("testcase")
        assert len(cases) == len(suite) == int(suite.get("tests", "-1"))
        totals["tests"] += len(cases)
        for case in cases:
            assert case.get("name")
            assert case.get("classname")
            assert len(case) <= 1
            assert all(child.tag in ("failure", "error", "skipped", "system-out") for child in case)
        for key, tag in tags.items():
            found = len(suite.findall(f"testcase/{tag}"))
            assert int(suite.get(key, "-1")) == found
            totals[key] += found
    assert {key: int(root.get(key, "-1")) for key in totals} == totals


def suite(root: ET.Element, name: str) -> ET.Element:
    return next(found for found in root if (found.get("name") or "").endswith(f".{name}"))


def test_every_check_is_a_suite_of_its_own() -> None:
    names = [found.get("name") for found in parsed(data.verdict(), data.manifest())]
    assert names == ["tiny.rerun", "tiny.resume", "tiny.rebuild", "tiny.controls", "tiny.verdict"]


def test_a_certified_verdict_has_no_failure_and_no_error() -> None:
    root = parsed(data.verdict(), data.manifest())
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "0")
    assert float(root.get("time", "0")) == pytest.approx(119.6)


def test_diverged_is_a_failure_that_says_where_and_why() -> None:
    failure = suite(parsed(data.verdict(data.DIVERGED)), "resume").find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == data.DIVERGED["checks"]["resume"]["reason"]
    assert "at step 7, in stream rng" in (failure.text or "")
    assert "fix: Save torch.get_rng_state()" in (failure.text or "")


def test_inconclusive_is_an_error_and_not_checked_is_skipped() -> None:
    root = parsed(data.verdict(data.INCONCLUSIVE))
    assert suite(root, "rerun").find("testcase/error") is not None
    assert suite(root, "rebuild").find("testcase/skipped") is not None
    assert suite(root, "verdict").find("testcase/error") is not None
    assert root.get("failures") == "0"


def test_a_control_that_is_not_detected_is_an_error() -> None:
    missed = {"name": "tensor_bit", "detected": False, "detail": "nothing differs"}
    verdict = data.verdict(control={"failed_as_it_must": False, "controls": [missed]})
    assert suite(parsed(verdict), "controls").get("errors") == "1"


def test_a_difference_is_no_failure_where_the_check_is_inconclusive() -> None:
    verdict = data.verdict(data.DIVERGED, checks=data.checks(data.DIVERGED, "resume", verdict="INCONCLUSIVE"))
    resume = suite(parsed(verdict), "resume")
    assert resume.get("failures") == "0"
    assert int(resume.get("errors", "0")) == 3


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_hostile_texts_are_valid_xml(attack: str) -> None:
    root = parsed(hostile.with_texts(data.verdict(data.DIVERGED), attack), hostile.with_texts(data.manifest(), attack))
    assert {element.tag for element in root.iter()} <= {
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "error",
        "skipped",
        "system-out",
    }
    render_junit(hostile.with_texts(data.verdict(data.DIVERGED), attack), None).encode()
