"""Every attack of the table is answered by TAMPERED, or by an error that says what is wrong; never by a success."""

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.verify.verify import verify
from harness.workflow.verify import rendered_again
from tests.tamper.attacks import ATTACKS
from tests.tamper.made_archive import silent

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "verify.md"


def answer(path, root=None):
    """The exit code and what is said: that of the command line, without its process."""
    try:
        found = verify(path, root, None, silent, rendered_again)
    except HarnessError as error:
        return error.exit_code, error.problem
    return found.exit_code, found.problem or found.word


def test_the_honest_archive_is_consistent(honest):
    assert answer(honest.archive) == (0, "CONSISTENT")
    assert answer(honest.other_archive) == (0, "CONSISTENT")


def test_an_honest_archive_put_together_anew_or_signed_anew_is_consistent(honest):
    """So that an attack fails for what it does, and not for how it is done."""
    assert honest.packed(honest.members()).read_bytes() == honest.archive.read_bytes()
    assert answer(honest.rewritten(honest.titles())) == (0, "CONSISTENT")
    assert answer(honest.resigned(lambda _: None)) == (0, "CONSISTENT")
    assert answer(honest.resigned(lambda _: None, derive=False)) == (0, "CONSISTENT")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_noticed_by_what_must_notice_it(honest, attack):
    code, said = answer(attack.make(honest))
    assert attack.notices in said, said
    assert code == (2 if attack.notices == "is no archive of a run" else 5)


def test_the_page_prints_the_table_of_these_attacks():
    rows = [f"| {one.what} | … {one.notices} … | {2 if 'no archive' in one.notices else 5} |" for one in ATTACKS]
    text = PAGE.read_text()
    missing = [row for row in rows if row not in text]
    assert not missing, "\n".join(missing)
    assert text.count("\n| ") - text.count("\n| ---") - 1 >= len(rows)


def test_names_of_attacks_are_unique():
    assert len({one.name for one in ATTACKS}) == len({one.what for one in ATTACKS}) == len(ATTACKS) >= 50
