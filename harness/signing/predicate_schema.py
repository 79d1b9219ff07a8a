"""The published JSON Schema of this program's own statement, and holding a statement against it.

`docs/schemas/training-reproducibility-v1.schema.json` is `schema_text()`. Every object is closed: what is not named in
the schema is refused, so nothing can hide in a statement. Open are only the facts about the machine, whose vocabulary
is that of the recorder and grows. A statement with other keys gets another predicate type, and a schema of its own.

Source: https://json-schema.org/draft/2020-12/schema.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from harness.errors import TamperedError
from harness.review.checklist import ITEMS
from harness.signing.certificate import CLAIMS, PREDICATE_TYPE, RESULTS, STATEMENT_TYPE

Schema = dict[str, Any]
SCHEMA_FILE = "docs/schemas/training-reproducibility-v1.schema.json"
_REMEDY = f"the form that a certificate must have is published in {SCHEMA_FILE}"
_ORACLES = ("CERTIFIED", "DIVERGED", "INCONCLUSIVE", "NOT_CHECKED")
_TIERS = ("same machine", "same model", "same architecture", "other")
_STATES_OF_NEEDS = ("present", "fetchable", "gone", "unknown")
_STATES = ("holds", "vetoed", "warning", "does not apply", "could not tell")


def check_predicate(statement: Mapping[str, Any]) -> None:
    """Hold a whole statement, with this program's predicate, against the schema.

    Args:
        statement: as `parse_statement` gives it.

    Raises:
        TamperedError: it does not fit; the first key that does not is named.
    """
    error = best_match(_validator().iter_errors(statement))
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path) or "the statement"
        raise TamperedError(f"the certificate does not fit its schema at {where}: {error.message[:300]}", _REMEDY)


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=1) + "\n"


def schema() -> Schema:
    """The JSON Schema of the statement."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{PREDICATE_TYPE}:schema",
        "title": "Training reproducibility, version 1",
        "description": "An in-toto Statement v1 on what was shown about the outputs of one training.",
        **_object(
            {
                "_type": {"const": STATEMENT_TYPE},
                "subject": {"type": "array", "minItems": 1, "items": _subject()},
                "predicateType": {"const": PREDICATE_TYPE},
                "predicate": _predicate(),
            }
        ),
    }


@functools.cache
def _validator() -> Draft202012Validator:
    found = schema()
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """A closed object."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(found: Schema) -> Schema:
    return {"anyOf": [found, {"type": "null"}]}


def _words(*values: str) -> Schema:
    return {"enum": list(values)}


def _hex(digits: int, prefix: str = "") -> Schema:
    """Lower-case hex; the length is given as well, for a pattern's `$` may stand before a line's end."""
    length = len(prefix) + digits
    pattern = f"^{prefix}[0-9a-f]{{{digits}}}$"
    return {"type": "string", "pattern": pattern, "minLength": length, "maxLength": length}


_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "minLength": 1}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "integer"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_DIGEST = _hex(64, "sha256:")
_COMMIT = {"anyOf": [_hex(40), _hex(64)]}
# RFC 8785 holds integers up to 2^53; larger ones stand as text.
_AMOUNT: Schema = {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+$"}
_MOMENT: Schema = {
    "type": "string",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
    "maxLength": 20,
}


def _subject() -> Schema:
    digests = {"sha256": _hex(64), "contentSha256": _hex(64), "gitCommit": _COMMIT}
    return _object({"name": _NAME, "digest": {**_object({}, digests), "minProperties": 1}})


def _predicate() -> Schema:
    closed = _object(
        {
            "result": _words(*RESULTS.values()),
            "verdict": _words(*RESULTS),
            "claims": _list(_words(*_claims())),
            "summary": _TEXT,
            "experiment": _NAME,
            "scope": _or_null(_object({"steps": _COUNT, "of": _COUNT})),
            "runId": _NAME,
            "runner": _words("docker", "host"),
            "isWorkingTreeDirty": _FLAG,
            "oracles": _oracles(),
            "interruptions": _list(_interruption()),
            "compared": _compared(),
            "controls": _list(_object({"name": _NAME, "failedAsItMust": _FLAG, "detail": _TEXT})),
            "review": _or_null(_review()),
            "firstDivergence": _or_null(_divergence()),
            "cause": _or_null(_cause()),
            "image": _image(),
            "environment": _environment(),
            "evidence": {"type": "array", "minItems": 1, "items": _file()},
            "problems": _list(_TEXT),
            "notChecked": _list(_TEXT),
            "finishedOn": _MOMENT,
        },
        {"replay": _replay()},
    )
    return {**closed, "allOf": [*_consistent(), _replay_is_told()]}


def _claims() -> list[str]:
    of_prefix = [f"{claim}_OF_PREFIX" for name, claim in CLAIMS.items() if name != "rebuild"]
    return [*CLAIMS.values(), *of_prefix]


def _consistent() -> list[Schema]:
    """Each verdict has its result, and only CERTIFIED claims anything."""
    rules = []
    for verdict, result in RESULTS.items():
        then: Schema = {"properties": {"result": {"const": result}}}
        if verdict != "CERTIFIED":
            then["properties"]["claims"] = {"maxItems": 0}
        rules.append({"if": {"properties": {"verdict": {"const": verdict}}}, "then": then})
    return rules


def _replay_is_told() -> Schema:
    """Where a replay was judged, it is said of what; and nowhere else."""
    has_oracle = {"properties": {"oracles": {"required": ["replay"]}}}
    return {"if": has_oracle, "then": {"required": ["replay"]}, "else": {"properties": {"replay": False}}}


def _oracles() -> Schema:
    base = {
        "verdict": _words(*_ORACLES),
        "required": _FLAG,
        "how": _TEXT,
        "reason": _TEXT,
        "bound": _or_null(_TEXT),
        "compared": _compared(),
    }
    resume = _object(
        {"run": _COUNT, "startedAfterStep": _COUNT, "checkpointStep": _or_null(_COUNT), "stepSource": _NAME}
    )
    return _object(
        {
            "rerun": _object(base),
            "resume": _object({**base, "resumes": _list(resume)}),
            "rebuild": _object({**base, "imageIds": _list(_NAME)}),
        },
        {"replay": _object(base)},
    )


def _compared() -> Schema:
    return _object({"numSteps": _AMOUNT, "numTensors": _AMOUNT, "numBytes": _AMOUNT, "numFiles": _AMOUNT})


def _interruption() -> Schema:
    return _object(
        {
            "kind": _NAME,
            "step": _COUNT,
            "microBatch": _or_null(_COUNT),
            "byte": _or_null(_AMOUNT),
            "by": _words("self", "outside"),
            "signal": _or_null(_NAME),
            "exitCode": _or_null(_NUMBER),
            "hasLanded": _FLAG,
            "resumedAfterStep": _or_null(_COUNT),
        }
    )


def _review() -> Schema:
    allowed = _object(
        {
            "rule": _NAME,
            "name": _NAME,
            "severity": _words("veto", "warning", "note"),
            "items": _list(_words(*ITEMS)),
            "path": _or_null(_TEXT),
            "line": _or_null(_COUNT),
            "message": _TEXT,
            "reason": _NAME,
        }
    )
    checklist = _object({item: _words(*_STATES) for item in ITEMS})
    unread = _object({"path": _TEXT, "reason": _TEXT})
    return _object({"checklist": checklist, "allowed": _list(allowed), "numFindings": _COUNT, "unread": _list(unread)})


def _divergence() -> Schema:
    return _object(
        {
            "oracle": _words("rerun", "resume", "replay"),
            "trajectory": _NAME,
            "run": _COUNT,
            "step": _COUNT,
            "micro_batch": _or_null(_COUNT),
            "stream": _NAME,
            "tensor": _or_null(_TEXT),
            "operator": _or_null(_TEXT),
            "left": _TEXT,
            "right": _TEXT,
        }
    )


def _cause() -> Schema:
    texts = _list(_TEXT)
    return _object({"class": _NAME, "title": _TEXT, "evidence": texts, "ruled_out": texts, "fix": _TEXT})


def _image() -> Schema:
    locks = {"type": "object", "additionalProperties": _DIGEST}
    return _object({"name": _or_null(_NAME), "id": _or_null(_DIGEST), "locks": locks})


def _environment() -> Schema:
    """Facts about the machine and the processes: those that are named must be there, others may be."""
    versions = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
    host = {
        "cpu": _or_null(_TEXT),
        "cores": _or_null(_COUNT),
        "memory_bytes": _or_null(_AMOUNT),
        "kernel": _TEXT,
        "machine": _TEXT,
        "system": _or_null(_TEXT),
        "gpus": _list({"type": "object"}),
    }
    facts = {"type": "object"}
    return _object(
        {
            "host": {**facts, "properties": host, "required": list(host)},
            "process": {
                **facts,
                "properties": {"threads": _COUNT, "versions": versions},
                "anyOf": [{"maxProperties": 0}, {"required": ["versions"]}],
            },
            "gpu": facts,
        },
        {"interpreter": facts},
    )


def _file() -> Schema:
    return _object({"name": _NAME, "digest": _object({"sha256": _hex(64)})})


def _replay() -> Schema:
    """What was replayed, on what machine and in what environment."""
    record = {
        "runId": _NAME,
        "experiment": _NAME,
        "commit": _COMMIT,
        "verdict": _words(*RESULTS),
        "finished": _or_null(_TEXT),
        "source": _TEXT,
        "key": _or_null(_TEXT),
    }
    need = {"kind": _NAME, "name": _NAME, "state": _words(*_STATES_OF_NEEDS), "detail": _TEXT, "remedy": _TEXT}
    image = {"archived": _or_null(_NAME), "today": _or_null(_NAME), "equal": _FLAG}
    return _object(
        {
            "record": _object(record),
            "against": _or_null(_COMMIT),
            "tier": _words(*_TIERS),
            "tierDetail": _list(_TEXT),
            "environment": _list(_object({"path": _NAME, "archived": _or_null(_TEXT), "today": _or_null(_TEXT)})),
            "image": _object(image),
            "codeChanges": _list(_TEXT),
            "preflight": _list(_object(need)),
        }
    )
