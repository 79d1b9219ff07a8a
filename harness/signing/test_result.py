"""The verdict as an in-toto Test Result, for policies that know nothing of this program.

Only CERTIFIED is a pass. INCONCLUSIVE and VETOED are FAILED here: a policy that asks whether the tests passed must not
be told that they did. Items of the review that gave a warning or could not be told are `warnedTests`, and the result
is then WARNED.

Source: https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.signing.provenance import hex_of

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_REVIEW = {"holds": "passed", "warning": "warned", "could not tell": "warned", "vetoed": "failed"}


def outcome(verdict: Mapping[str, Any], manifest: Mapping[str, Any], evidence: list[Any]) -> dict[str, Any]:
    """The predicate; the arguments are those of `provenance`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: a document does not have the form that this program writes.
    """
    tests: dict[str, list[str]] = {"passed": [], "warned": [], "failed": []}
    for name, state in _tests(verdict):
        tests[state].append(name)
    result = ("WARNED" if tests["warned"] else "PASSED") if verdict["verdict"] == "CERTIFIED" else "FAILED"
    declared = {"name": "experiment", "digest": {"sha256": hex_of(manifest["experiment_digest"])}}
    return {
        "result": result,
        "configuration": [declared, *(entry for entry in evidence if entry["name"] == "config.json")],
        **{f"{state}Tests": sorted(names) for state, names in tests.items()},
    }


def _tests(verdict: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every oracle that was asked, every control that was made and every item of the review that applies."""
    for name, oracle in verdict["checks"].items():
        if oracle["verdict"] == "CERTIFIED":
            yield f"oracle/{name}", "passed"
        elif oracle["verdict"] != "NOT_CHECKED" or oracle["required"]:
            yield f"oracle/{name}", "failed" if oracle["required"] or oracle["verdict"] == "DIVERGED" else "warned"
    for check in verdict["control"]["controls"]:
        yield f"control/{check['name']}", "passed" if check["detected"] else "failed"
    for row in (verdict.get("review") or {"checklist": ()})["checklist"]:
        if row["state"] in _REVIEW:
            yield f"review/{row['id']}", _REVIEW[row["state"]]
