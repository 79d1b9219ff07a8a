from __future__ import annotations

import copy
import io
import xml.etree.ElementTree as ET

import pytest

from harness.report.console import print_summary
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.markdown import render_summary
from tests.made import hostile, replay_data
from tests.made import report_data as data
from tests.made.page_checks import Page


def shown(document: dict) -> dict[str, str]:
    """What each presenter says of it."""
    stream, verdict, manifest = io.StringIO(), data.verdict(document), data.manifest()
    print_summary(verdict, manifest, {}, stream=stream)
    return {
        "html": Page(render_report(verdict, manifest, data.curves()[:1])).text,
        "markdown": render_summary(verdict, manifest).replace("\\", ""),
        "console": stream.getvalue(),
    }


def test_every_presenter_says_what_was_replayed_where_and_what_differs() -> None:
    for name, text in shown(replay_data.CERTIFIED).items():
        for expected in (
            "20261023T052000Z-1a2b3c4-beef",
            "manifests/tiny",
            "release (3f9a1c773f9a1c77)",
            "same model",
            "host.kernel",
            "6.18.44",
            "absent",
            "1 fetchable, 73 present",
        ):
            assert expected in text, (name, expected)
        assert ("torch==2.13.0" in text) == (name != "console")  # what could be fetched was fetched: no news
        assert "package-3==1.3" not in text or name == "html"


def test_what_is_gone_is_shown_with_its_remedy_and_comes_first() -> None:
    for name, text in shown(replay_data.DIVERGED).items():
        assert "1 gone, 1 fetchable, 72 present" in text, name
        assert 0 < text.index("package-3==1.3") < text.index("torch==2.13.0"), name
        assert "harness archive --full" in text and "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432" in text, name


def test_the_questions_of_a_replay_come_in_its_own_order() -> None:
    text = shown(replay_data.CERTIFIED)["console"]
    places = [text.index(f"\n{word} ") for word in ("Replay", "Rebuild", "Rerun", "Resume")]
    assert places == sorted(places)
    assert text.rstrip().endswith("VERDICT: CERTIFIED")


def test_the_map_of_equality_shows_where_a_replay_leaves_the_archived_run() -> None:
    text = shown(replay_data.DIVERGED)["html"]
    assert "The archived run and the run of today" in text
    assert "differs from step 7, at 18 of 24 steps" in text
    assert "The bits first differ at step 7, in stream loss" in text


def test_a_replay_claims_nothing_about_kills() -> None:
    text = shown(replay_data.CERTIFIED)["html"]
    assert "a replay trains straight through and kills nothing" in text
    assert "on another machine with the same model of processor" in text
    assert "that are not drawn at random" not in text


def test_junit_has_a_suite_for_the_preflight_in_which_what_is_gone_is_an_error() -> None:
    root = ET.fromstring(render_junit(data.verdict(replay_data.DIVERGED), data.manifest()))
    assert root.get("name") == "harness replay tiny"
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites)[:2] == ["tiny.replay", "tiny.rebuild"]
    gone = [case for case in suites["tiny.preflight"] if case.find("error") is not None]
    assert [case.get("name") for case in gone] == ["wheel package-3==1.3 can be had"]
    assert suites["tiny.replay"].get("failures") == "1"


def test_counts_are_of_everything_however_few_rows_are_shown() -> None:
    many = copy.deepcopy(replay_data.CERTIFIED)
    row = {"kind": "base", "name": "x", "state": "fetchable", "detail": "", "remedy": ""}
    many["replay"]["preflight"] += [row] * 5000
    for name, text in shown(many).items():
        assert "5001 fetchable, 73 present" in text, name


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_hostile_texts_of_a_replay_stay_text(attack: str) -> None:
    page = Page(render_report(hostile.with_texts(data.verdict(replay_data.DIVERGED), attack), data.manifest()))
    assert page.problems == [] and "script" not in page.tags


def test_a_difference_on_other_hardware_is_drawn_although_it_decides_nothing() -> None:
    checks = data.checks(replay_data.DIVERGED, "replay", verdict="INCONCLUSIVE")
    verdict = replay_data.DIVERGED | {"verdict": "INCONCLUSIVE", "checks": checks}
    text = shown(verdict)["html"]
    assert "differs from step 7, at 18 of 24 steps" in text and "same bits at 24 of 24 steps" in text


def test_what_differs_of_the_code_is_listed() -> None:
    changes = {"replay": replay_data.DIVERGED["replay"] | {"code_changes": ["pipelines/lora/train.py"]}}
    found = shown(replay_data.DIVERGED | changes)
    assert all("pipelines/lora/train.py" in found[name] for name in ("html", "markdown"))


def test_an_environment_is_called_the_same_only_after_a_training() -> None:
    def said(steps: int) -> bool:
        replay = replay_data.CERTIFIED["replay"] | {"environment": []}
        checks = data.checks(replay_data.CERTIFIED, "replay", compared={"steps": steps})
        verdict = data.verdict(replay_data.CERTIFIED, replay=replay, checks=checks)
        return "Nothing of the recorded environment differs" in Page(render_report(verdict, None)).text

    assert said(24) and not said(0)


def test_what_can_be_fetched_is_folded_and_what_is_gone_is_not() -> None:
    for verdict, is_folded in ((replay_data.CERTIFIED, True), (replay_data.DIVERGED, False)):
        before = render_report(data.verdict(verdict), None).partition("torch==2.13.0")[0]
        assert (before.count("<details") > before.count("</details>")) == is_folded
