"""An environment that is not the locked one is shown by every presenter, and the locked one by none."""

import io

import pytest

from harness.report.console import print_summary
from harness.report.html import render_report
from harness.report.markdown import render_summary
from harness.report.view import View
from tests.made import hostile
from tests.made import report_data as data


def verdict(python=None, missing=(), changed=(), added=(), **fields):
    difference = {
        "python": python,
        "missing": [{"name": name, "locked": "1.0"} for name in missing],
        "changed": [{"name": name, "locked": "1.0", "found": "2.0"} for name in changed],
        "added": [{"name": name, "found": "2.0"} for name in added],
    }
    counts = {"missing": len(missing), "changed": len(changed), "added": len(added)}
    environment = {
        "kind": "given",
        "lock": "cpu.lock",
        "python": "3.11.7",
        "implementation": "CPython",
        "platform": "linux",
        "num_packages": 3,
        "is_locked": not any(counts.values()) and python is None,
        "counts": counts,
        "difference": difference,
    }
    return data.verdict(environment={**environment, **fields})


def shown(document):
    """What the three presenters write."""
    stream = io.StringIO()
    print_summary(document, None, {}, stream=stream)
    return {
        "console": stream.getvalue(),
        "markdown": render_summary(document, None),
        "html": render_report(document, None),
    }


def test_every_presenter_names_the_packages_and_how_many_differ():
    document = verdict(missing=["gguf"], changed=["torch", "numpy"])
    for name, text in shown(document).items():
        assert "NOT the locked environment: Python 3.11.7, compared with cpu.lock: 1 missing, 2 changed" in text, name
        assert all(package in text for package in ("gguf", "torch", "numpy")), name


def test_the_numbers_are_those_of_all_packages_and_not_of_the_rows_that_are_shown():
    document = verdict(added=[f"package-{number}" for number in range(900)])
    for name, text in shown(document).items():
        assert "900 added" in text, name


def test_the_locked_environment_and_a_container_are_not_mentioned():
    for document in (verdict(), data.verdict(), data.verdict(environment=None)):
        assert View(document, None).packages_warning == ""
        assert not any("NOT the locked" in text for text in shown(document).values())


def test_another_python_alone_is_a_difference():
    document = verdict(python={"locked": "3.11", "found": "3.12"})
    view = View(document, None)
    assert view.packages.rows == (("changed", "python", "3.11", "3.12"),)
    assert "another Python" in view.packages_warning


def test_the_warning_stands_above_the_checks():
    document = verdict(missing=["gguf"])
    markdown, html = render_summary(document, None), render_report(document, None)
    assert markdown.index("[!WARNING]") < markdown.index("| Check |")
    assert html.index("Not the locked environment") < html.index('id="h-checks"')


@pytest.mark.parametrize("text", hostile.ATTACKS)
def test_names_of_packages_are_not_trusted(text):
    document = hostile.with_texts(verdict(added=["x"], changed=["y"], lock="z"), text)
    pages = shown(document)
    assert all("<script" not in pages[name] and "<img src=x" not in pages[name] for name in ("html", "markdown"))
    assert "\x1b" not in "".join(pages.values())
