"""An environment as a verdict has it: written plainly, read back strictly."""

import json

import pytest
from pydantic import ValidationError

from harness.documents.environment import (
    AddedPackage,
    ChangedPackage,
    EnvironmentDifference,
    EnvironmentFacts,
    MissingPackage,
    PythonDifference,
)
from tests.made.environments import environment_facts

DIFFERENCE = EnvironmentDifference(
    python=PythonDifference(locked="3.11", found="3.12"),
    missing=(MissingPackage(name="torch", locked="2"),),
    added=(AddedPackage(name="extra", found="0.1"),),
    changed=(ChangedPackage(name="numpy", locked="2.1.0", found="1.26.4"),),
)


def test_an_environment_says_whether_it_is_the_locked_one():
    locked = environment_facts()
    assert locked.sentence() == "" and locked.to_json()["is_locked"] is True and locked.to_json()["kind"] == "given"
    other = environment_facts(EnvironmentDifference(missing=(MissingPackage(name="torch", locked="2"),)))
    assert other.sentence() == "the environment is not the one of cpu.lock: 1 missing (torch)"


def test_a_difference_is_written_in_plain_lists_and_read_back():
    document = environment_facts(DIFFERENCE).to_json()
    assert document["difference"] == {
        "python": {"locked": "3.11", "found": "3.12"},
        "missing": [{"name": "torch", "locked": "2"}],
        "added": [{"name": "extra", "found": "0.1"}],
        "changed": [{"name": "numpy", "locked": "2.1.0", "found": "1.26.4"}],
    }
    assert EnvironmentFacts.model_validate_json(json.dumps(document)) == environment_facts(DIFFERENCE)


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {"missing": 0, "changed": 0, "added": 0}},
        {"is_locked": True},
        {"num_packages": -1},
        {"num_packages": True},
        {"kind": "other"},
        {"difference": {"python": None, "missing": [["torch", "2"]], "added": [], "changed": []}},
    ],
)
def test_what_contradicts_itself_or_has_another_form_is_refused(change):
    with pytest.raises(ValidationError):
        EnvironmentFacts.model_validate_json(json.dumps({**environment_facts(DIFFERENCE).to_json(), **change}))
