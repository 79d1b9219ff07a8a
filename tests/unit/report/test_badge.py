from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import get_args

import pytest

from harness.documents.verdict import Word
from harness.report.badge import COLOURS, HEIGHT, LABEL_COLOUR, render_badge
from harness.report.check_view import TONES
from tests.made import hostile, replay_data
from tests.made import report_data as data

VERDICTS = get_args(Word)
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [found.text or "" for found in ET.fromstring(svg).iter(f"{SVG}text")]


def contrast_with_white(colour: str) -> float:
    """WCAG 2.2's contrast ratio."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


@pytest.mark.parametrize("word", VERDICTS)
def test_a_badge_says_its_verdict_in_its_colour_and_in_its_name(word: str) -> None:
    svg = render_badge(data.verdict(verdict=word))
    root = ET.fromstring(svg)
    assert texts(svg) == ["reproducibility", word]
    assert root.get("role") == "img" and root.get("aria-label") == root.findtext(f"{SVG}title")
    assert word in (root.findtext(f"{SVG}title") or "")
    assert [rect.get("fill") for rect in root.iter(f"{SVG}rect")][1:] == [LABEL_COLOUR, COLOURS[TONES[word]]]


def test_only_certified_is_green() -> None:
    assert [word for word in VERDICTS if COLOURS[TONES[word]] == COLOURS["good"]] == ["CERTIFIED"]


@pytest.mark.parametrize("colour", [LABEL_COLOUR, *COLOURS.values()])
def test_white_can_be_read_on_every_colour(colour: str) -> None:
    assert contrast_with_white(colour) >= 4.5


def test_a_badge_of_a_prefix_or_of_uncommitted_code_says_so() -> None:
    svg = render_badge(data.verdict(scope={"steps": 20, "of": 60}, dirty=True))
    assert texts(svg)[1] == "CERTIFIED (20 of 60 steps, uncommitted code)"


def test_a_badge_of_a_replay_says_that_it_is_one() -> None:
    assert texts(render_badge(data.verdict(replay_data.DIVERGED))) == ["replay", "DIVERGED"]


def test_every_text_has_room_and_its_length_is_given() -> None:
    root = ET.fromstring(render_badge(data.verdict(scope={"steps": 10**300, "of": 60})))
    boxes = [rect for rect in root.iter(f"{SVG}rect") if rect.get("fill")]
    for box, text in zip(boxes, root.iter(f"{SVG}text"), strict=True):
        left, width = float(box.get("x", 0)), float(box.get("width", 0))
        middle, length = float(text.get("x", 0)), float(text.get("textLength", 0))
        assert left < middle - length / 2 and middle + length / 2 < left + width
    assert float(root.get("width", 0)) < 600 and root.get("height") == str(HEIGHT)


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_hostile_texts_are_only_text(attack: str) -> None:
    svg = render_badge(hostile.with_texts(data.verdict(), attack))
    tags = {found.tag.removeprefix(SVG) for found in ET.fromstring(svg).iter()}
    assert tags == {"svg", "title", "clipPath", "rect", "g", "text"}
