"""Certificates of version 1: checked against their own schema, then read in the words of version 2."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from pydantic.alias_generators import to_camel

from harness.documents import certificate
from harness.errors import TamperedError

PREDICATE_TYPE = "urn:repro-harness:training-reproducibility:v1"
SCHEMA_NAME = "training-reproducibility-v1.schema.json"  # in docs/schemas, and beside this file in the package
_REMEDY = f"the form that a certificate must have is published in docs/schemas/{SCHEMA_NAME}"
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
        TamperedError: it does not fit the schema of version 1; the first key that does not is named.
    """
    error = best_match(_validator().iter_errors(statement))
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path) or "the statement"
        raise TamperedError(f"the certificate does not fit its schema at {where}: {error.message[:300]}", _REMEDY)
    predicate = _renamed(statement["predicate"])
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


@functools.cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(Path(__file__).with_name(SCHEMA_NAME).read_text()))
