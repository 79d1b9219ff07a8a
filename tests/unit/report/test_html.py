from __future__ import annotations

import dataclasses
import itertools
import math
import re

import pytest

from harness.report import html
from harness.report.curves import Curve
from harness.report.html import MAX_BYTES, render_report
from tests.made import hostile
from tests.made import report_data as data
from tests.made.page_checks import Page


@pytest.fixture(scope="module")
def certified() -> str:
    return render_report(data.verdict(), data.manifest(), data.curves())


@pytest.fixture(scope="module")
def diverged() -> str:
    return render_report(data.verdict(data.DIVERGED), data.manifest(), data.curves(shift=0.02))


@pytest.mark.parametrize("name", ["certified", "diverged"])
def test_a_report_is_well_formed_and_loads_nothing(name: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(name)
    page = Page(text)
    assert page.problems == []
    assert "<script" not in text
    assert not re.search(r"https?://", text)


def test_a_report_is_far_below_its_bound(certified: str) -> None:
    assert len(certified.encode()) < MAX_BYTES / 4


def test_a_report_names_every_drawing_for_a_screen_reader(certified: str) -> None:
    page = Page(certified)
    assert page.unnamed_drawings == 0
    assert page.tags.count("svg") > 10
    assert "Training loss by optimizer step" in page.text


def test_headings_begin_at_one_and_leave_no_level_out(diverged: str) -> None:
    headings = Page(diverged).headings
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_a_certified_report_says_what_was_asked_found_and_left_unchecked(certified: str) -> None:
    text = Page(certified).text
    for expected in (
        data.CERTIFIED["summary"],
        "one rerun: no statistical claim",
        "run 2: checkpoint of step 6, first step 7",
        "straight and resumed: same bits at steps 7 to 24",
        "while a checkpoint was written, at byte 65536, after step 18",
        "SIGKILL from outside, exit code 137",
        "One bit, in a copy of a tensor detected",
        "96 of 96",
        "The host read 24 tensors from disk and found 24 of them in the ledger.",
        "adapter/adapter_model.safetensors",
        "Intel Xeon Processor",
        "lockfiles/cpu.lock",
        "deb:miscfiles",
        "replay: no archived run was named",
        "every resumed run continued right after its checkpoint's step",
    ):
        assert expected in text
    assert "Where it first differs" not in text


def test_a_diverged_report_says_where_why_and_how_to_mend_it(diverged: str) -> None:
    text = Page(diverged).text
    for expected in (
        "The bits first differ at step 7, in stream rng, tensor torch.cpu, in run 2 of the resumed trajectory",
        "The random number generators were not restored",
        "nondeterministic kernels: the rerun is equal",
        "Save torch.get_rng_state()",
        "straight and resumed: differs from step 7, at 18 of 18 steps",
        "95 of 96",
        "No certificate was issued. These checks passed",
    ):
        assert expected in text


def test_an_inconclusive_report_gives_its_reasons_and_claims_nothing() -> None:
    page = Page(render_report(data.verdict(data.INCONCLUSIVE), data.manifest()))
    assert page.problems == []
    assert "the engine stopped answering" in page.text
    assert "No step was compared." in page.text
    assert "no certificate was issued, and no check passed" in page.text
    assert "same bits at" not in page.text


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_no_text_of_a_verdict_or_manifest_becomes_markup(attack: str) -> None:
    verdict, manifest = (
        hostile.with_texts(data.verdict(data.DIVERGED), attack),
        hostile.with_texts(data.manifest(), attack),
    )
    text = render_report(verdict, manifest)
    text.encode()
    assert Page(text).problems == []
    assert "<script" not in text


def test_a_script_in_a_text_is_shown_as_text() -> None:
    page = Page(render_report(data.verdict(summary=hostile.SCRIPT), None))
    assert page.problems == []
    assert hostile.SCRIPT in page.text


def test_a_script_in_a_key_is_shown_as_text() -> None:
    keys = {hostile.SCRIPT: {hostile.SCRIPT: hostile.SCRIPT}}
    environment = {"host": {}, "process": keys, "gpu": {}}
    inputs = {hostile.SCRIPT: data.MANIFEST["inputs"]["text"]}
    page = Page(render_report(data.verdict(), data.manifest(environment=environment, inputs=inputs, experiment=keys)))
    assert page.problems == []
    assert page.text.count(hostile.SCRIPT) >= 4


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e308, 1e-320, 0.0])
def test_losses_that_are_no_numbers_are_drawn_as_gaps_not_errors(odd: float) -> None:
    curves = [dataclasses.replace(curve, losses=tuple(odd for _ in curve.losses)) for curve in data.curves()]
    page = Page(render_report(data.verdict(), data.manifest(), curves))
    assert page.problems == []
    assert ("x = not finite, or above 1e30" in page.text) == (not abs(odd) < 1e30)


def test_a_single_step_and_empty_curves_can_be_drawn() -> None:
    one = Curve("straight", 1, (1,), (2.5,), (0.0,), (0.0,), (0,), (None,))
    none = Curve("resumed", 1, (), (), (), (), (), ())
    assert Page(render_report(data.verdict(), None, [one, none])).problems == []


def test_a_long_training_with_many_kills_stays_below_the_bound() -> None:
    num_steps, num_runs = 60_000, 300
    straight = _long("straight", 1, 1, num_steps)
    share = num_steps // num_runs
    resumed = [_long("resumed", run, (run - 1) * share + 1, run * share) for run in range(1, num_runs + 1)]
    kills = [data.interruption("after_step", run * share, run, run * share) for run in range(1, num_runs)]
    verdict = data.verdict(interruptions=kills, files=data.CERTIFIED["files"][:1] * 5000)
    text = render_report(verdict, data.manifest(), [straight, *resumed])
    assert len(text.encode()) < MAX_BYTES
    page = Page(text)
    assert page.problems == []
    assert "4800 more are in verdict.json." in page.text


def _long(trajectory: str, run: int, first: int, last: int) -> Curve:
    steps = tuple(range(first, last + 1))
    losses = tuple(2 + math.sin(step * 12.9898) for step in steps)
    return Curve(trajectory, run, steps, losses, losses, losses, (1 << 30,) * len(steps), (None,) * len(steps))


def test_a_verdict_of_any_size_stays_below_the_bound() -> None:
    text = "<&\"'" * 100_000
    verdict = data.verdict(data.DIVERGED, files=data.CERTIFIED["files"][:1] * 2000, problems=[""] * 3000)
    manifest = data.manifest(experiment={str(key): "" for key in range(2000)}, runs=data.MANIFEST["runs"] * 300)
    page = render_report(hostile.with_texts(verdict, text), hostile.with_texts(manifest, text))
    assert len(page.encode()) < MAX_BYTES
    assert Page(page).problems == []


def test_the_same_verdict_gives_the_same_bytes(certified: str) -> None:
    assert render_report(data.verdict(), data.manifest(), data.curves()) == certified


def test_controls_among_the_curves_are_not_plotted() -> None:
    control = dataclasses.replace(data.curves()[0], trajectory="control-param")
    assert html.loss_figure([control], ()) is None


def test_a_planted_difference_shows_as_a_panel_of_its_own(certified: str, diverged: str) -> None:
    assert "|straight - resumed|" in Page(diverged).text
    assert "|straight - resumed|" not in Page(certified).text


def test_colours_of_the_figures_come_from_the_page(certified: str) -> None:
    drawings = "".join(re.findall(r'<svg class="plot".*?</svg>', certified, re.DOTALL))
    assert "var(--straight)" in drawings
    assert not re.search(r"#[0-9a-f]{6}\b", drawings)


def test_a_training_of_one_step_is_a_point_over_the_number_one() -> None:
    curves = [data.curve(name, 1, data.progress(1, 1)) for name in ("straight", "rerun")]
    for drawing in (html.loss_figure(curves, ()), html.resources_figure(curves, ())):
        assert drawing is not None
        ticks = re.findall(r"<text [^>]*>(?:<!--.*?-->)?([^<]*)</text>", drawing.wide)
        assert "1" in ticks and "1.05" not in ticks
    marks = html.loss_figure(curves, ())
    assert marks is not None and marks.wide.count("<use ") >= 2


def test_a_loss_that_was_never_a_number_has_no_scale() -> None:
    drawing = html.loss_figure([data.curve_of_losses("straight", [math.nan] * 3)], ())
    assert drawing is not None
    assert "not finite" in drawing.wide and "0.04" not in drawing.wide
