import json

import pytest

from harness.documents.verdict import ChecklistItem, Review
from harness.signing.statements import statements
from tests.made.documents import replaced
from tests.made.run_documents import run_documents
from tests.made.synthetic import UNSEEDED, Quirks, resumed


def outcome(changed=None, **changes):
    certificate, verdict, manifest = run_documents(**changes)
    verdict = verdict if changed is None else changed(verdict)
    return json.loads(statements(certificate, verdict, manifest)[2])


def review(*states):
    rows = tuple(
        ChecklistItem(id=f"T{number}", group="", title="", state=state, shown=(), rules=())
        for number, state in enumerate(states, 1)
    )
    found = Review(checklist=rows, findings=(), allowed=(), unread=(), vetoes=(), measured=None, num_files=0)
    return lambda verdict: verdict.model_copy(update={"review": found})


def test_it_is_an_in_toto_test_result_about_the_certificates_subjects():
    certificate, verdict, manifest = run_documents()
    statement = json.loads(statements(certificate, verdict, manifest)[2])
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement["subject"] == json.loads(certificate)["subject"]
    predicate = statement["predicate"]
    assert predicate.keys() == {"result", "configuration", "passedTests", "warnedTests", "failedTests"}
    assert [one["name"] for one in predicate["configuration"]] == ["experiment", "config.json"]


def test_certified_passes_and_names_every_test():
    predicate = outcome()["predicate"]
    assert (predicate["result"], predicate["warnedTests"], predicate["failedTests"]) == ("PASSED", [], [])
    assert predicate["passedTests"] == sorted(predicate["passedTests"])
    assert {"check/rebuild", "check/rerun", "check/resume", "control/tensor_bit"} <= {*predicate["passedTests"]}


def test_diverged_fails_and_names_the_check():
    predicate = outcome(resumed=resumed(quirks=Quirks(forget=("rng",))))["predicate"]
    assert predicate["result"] == "FAILED"
    assert "check/resume" in predicate["failedTests"]
    assert "check/rerun" in predicate["passedTests"]


@pytest.mark.parametrize("changes", [{"review": UNSEEDED}, {"controls": ()}, {"problems": ("no disk",)}])
def test_vetoed_and_inconclusive_are_no_pass(changes):
    assert outcome(**changes)["predicate"]["result"] == "FAILED"


def test_a_check_that_nobody_asked_for_is_not_listed():
    predicate = outcome(required=("rerun",), rebuild=None)["predicate"]
    assert not [
        name
        for key in ("passedTests", "warnedTests", "failedTests")
        for name in predicate[key]
        if name == "check/rebuild"
    ]


def test_a_required_check_that_was_not_checked_failed():
    assert "check/rebuild" in outcome(rebuild=None)["predicate"]["failedTests"]


def test_what_the_review_could_not_tell_is_a_warning():
    predicate = outcome(review("holds", "could not tell", "warning", "does not apply"))["predicate"]
    assert predicate["result"] == "WARNED"
    assert predicate["warnedTests"] == ["review/T2", "review/T3"]
    assert "review/T1" in predicate["passedTests"]
    assert "review/T4" not in json.dumps(predicate)


def test_a_veto_is_a_failed_test():
    assert outcome(review("vetoed"))["predicate"]["failedTests"] == ["review/T1"]


def test_a_control_that_was_not_detected_is_a_failed_test():
    def changed(verdict):
        return replaced(verdict, "control.controls.0.detected", False)

    assert outcome(changed)["predicate"]["failedTests"] == ["control/tensor_bit"]
