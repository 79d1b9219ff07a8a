"""Documents: one way to load what this program wrote, and one to write it.

A document is loaded strictly: bounded, every key once, every value of its type; unknown keys are left alone, because
a later version may write more. It is written with sorted keys, so equal values give equal bytes.
"""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import TamperedError, UsageError

MAX_BYTES = 64 << 20
MAX_DEPTH = 64  # ours have ten; Python gives up comparing and writing at some hundreds
REMEDY = "it is not what a certify wrote: get the archive again from where it was published"


class Model(BaseModel):
    """A frozen part of a document."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        populate_by_name=True,
        serialize_by_alias=True,
        ser_json_inf_nan="constants",
    )

    def to_json(self) -> dict[str, Any]:
        """As JSON values, by the names that stand in the file."""
        return self.model_dump(mode="json")


class Document(Model):
    """A file of its own."""

    @classmethod
    def load(cls, data: bytes | memoryview, name: str) -> Self:
        """Read a document.

        Args:
            data: the file's bytes.
            name: of the file, for messages.

        Raises:
            TamperedError: it is malformed; the message names the key.
        """
        return cls.from_json(read_json(data, name), name)

    @classmethod
    def from_json(cls, value: Any, name: str) -> Self:
        """The same of JSON values that were read already."""
        try:
            return cls.model_validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise TamperedError(f"{name}: {path[:200]}: {str(first['msg'])[:200]}", REMEDY) from error

    def write(self) -> bytes:
        """The file's bytes."""
        return (json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n").encode()


def read_json(data: bytes | memoryview, name: str) -> dict[str, Any]:
    """A JSON object in which no key comes twice.

    Raises:
        TamperedError: it is none, or too large or too deep to be one of ours.
    """
    if len(data) > MAX_BYTES:
        raise TamperedError(f"{name} has {len(data)} bytes, at most {MAX_BYTES} are read", REMEDY)
    try:
        value = json.loads(bytes(data).decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise TamperedError(f"{name} is no JSON document: {str(error)[:120]}", REMEDY) from error
    if not isinstance(value, dict):
        raise TamperedError(f"{name} is no JSON object", REMEDY)
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [one for outer in level if isinstance(outer, dict | list) for one in _inside(outer)]
    if level:
        raise TamperedError(f"{name} is nested deeper than {MAX_DEPTH} levels", REMEDY)
    return value


def check_schema(document: dict[str, Any], newest: int, name: str) -> None:
    """Refuse a document of a schema that this version does not know.

    Raises:
        UsageError: a newer version of this program wrote it in another format.
    """
    schema = document.get("schema")
    if type(schema) is int and schema > newest:
        problem = f"{name} has format {schema}, this version reads up to {newest}"
        raise UsageError(problem, "use the version of the harness that wrote it, or a newer one")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _inside(outer: dict[str, Any] | list[Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer
