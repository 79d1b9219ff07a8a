"""Certificates of version 1, read in the words of version 2, whose model then checks them.

docs/schemas/training-reproducibility-v1.schema.json is the form that they were written in.
"""

from __future__ import annotations

from typing import Any

from pydantic.alias_generators import to_camel

from harness.documents import certificate
from harness.errors import TamperedError

PREDICATE_TYPE = "urn:repro-harness:training-reproducibility:v1"
_REMEDY = "docs/schemas/training-reproducibility-v1.schema.json is the form that a certificate of version 1 must have"
_VERBATIM = ("process", "locks", "checklist")  # their keys are names, not words of this program
_RENAMED = {
    "oracles": "checks",
    "oracle": "check",
    "failedAsItMust": "detected",
    "hasLanded": "landed",
    "isWorkingTreeDirty": "dirty",
    "numSteps": "steps",
    "numBytes": "bytes",
    "numFiles": "files",
}


def upgraded(statement: dict[str, Any]) -> dict[str, Any]:
    """The statement as version 2 would have it.

    Raises:
        TamperedError: it is no certificate of version 1.
    """
    try:
        return _upgraded(statement)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"the certificate does not fit its schema: {type(error).__name__}: {str(error)[:300]}"
        raise TamperedError(problem, _REMEDY) from error


def _upgraded(statement: dict[str, Any]) -> dict[str, Any]:
    predicate = _renamed(statement["predicate"])
    missing = {"resumes"} - predicate["checks"]["resume"].keys() | {"imageIds"} - predicate["checks"]["rebuild"].keys()
    if missing:  # version 2 may leave them out
        raise KeyError(*missing)
    for compared in (predicate, *predicate["checks"].values()):
        compared["compared"]["tensors"] = compared["compared"].pop("numTensors")
    environment = predicate["environment"]
    known: dict[str, type[certificate.Closed]] = {
        "host": certificate.Host,
        "gpu": certificate.GpuAccess,
        "interpreter": certificate.Interpreter,
    }
    for name, model in known.items():
        # Version 1 took the machine's facts as they came; those that have no name today are left alone.
        names = {field.alias for field in model.model_fields.values()}
        if name in environment:
            environment[name] = {key: value for key, value in environment[name].items() if key in names}
    return {**statement, "predicateType": certificate.PREDICATE_TYPE, "predicate": predicate}


def upgraded_tests(predicate: dict[str, Any]) -> dict[str, Any]:
    """An in-toto test result beside a certificate of version 1, in the words of version 2."""
    lists = {key: value for key, value in predicate.items() if key.endswith("Tests") and isinstance(value, list)}
    named = {key: sorted(str(name).replace("oracle/", "check/", 1) for name in names) for key, names in lists.items()}
    return {**predicate, **named}


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        _RENAMED.get(key, to_camel(key)): item if key in _VERBATIM else _renamed(item) for key, item in value.items()
    }
