"""A loop that knows nothing of the harness: certified in containers, and on the host where there is no engine."""

import re

import pytest

from tests import ROOT


def test_the_plain_loop_has_forty_lines_and_no_word_of_the_harness():
    source = (ROOT / "pipelines" / "plain" / "train.py").read_text()
    lines = [line for line in source.partition('"""\n')[2].splitlines() if line.strip()]
    assert len(lines) <= 40
    assert not re.search("harness|recorder|ledger", source, re.IGNORECASE)


def assert_nothing_is_vetoed(review):
    states = {item["id"]: item["state"] for item in review["checklist"]}
    assert len(states) == 27 and review["vetoes"] == [] and review["allowed"] == []
    assert {name: states[name] for name in ("V1", "V2", "V3", "V4", "V5")} == {
        "V1": "holds",
        "V2": "holds",
        "V3": "holds",
        "V4": "does not apply",
        "V5": "holds",
    }
    shown = {item["id"]: item["shown"] for item in review["checklist"]}
    assert all(shown[name][0]["measured"] for name in ("V1", "V2", "V5"))


@pytest.mark.engine
def test_it_is_certified_in_containers(certified_plain):
    project, answer = certified_plain
    assert (answer.code, answer.last_line) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    verdict = project.verdict("plain")
    assert verdict["runner"] == "docker"
    assert all(kill["landed"] and kill["exit_code"] == 137 for kill in verdict["interruptions"])
    assert_nothing_is_vetoed(verdict["review"])


def test_without_an_engine_the_host_serves_with_the_locked_environment_and_says_so_everywhere(shared_project):
    answer = shared_project.harness("certify", "plain", ENGINE="none")
    assert (answer.code, answer.last_line) == (0, "VERDICT: CERTIFIED"), answer.out + answer.err
    assert "WITHOUT containers" in answer.err
    verdict, manifest = shared_project.verdict("plain"), shared_project.manifest("plain")
    assert verdict["runner"] == "host"
    assert verdict["checks"]["rebuild"]["verdict"] == "NOT_CHECKED"
    assert any("no container" in text for text in verdict["not_checked"])
    environment = verdict["environment"]
    assert environment["kind"] == "lock" and environment["lock"] == "cpu.lock"
    assert environment["counts"] == {"missing": 0, "changed": 0, "added": 0}
    assert manifest["runner"] == "host" and manifest["image"]["id"] is None
    assert_nothing_is_vetoed(verdict["review"])
    assert '"runner":"host"' in (shared_project.latest("plain") / "certificate.json").read_text()
