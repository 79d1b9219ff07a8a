"""Turns test data into an attack: every text replaced."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from pydantic import BaseModel

SCRIPT = "<script>alert(1)</script>"
ATTACKS = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "a | b ` c\n## heading\n- [x](javascript:alert(1)) ![i](https://example.org/x.png) @somebody",
    "\x1b[31mred\x00\x07\ud800\u202e\ufffe ]]> &amp; <!-- -->",
    "\\" * 40 + "|",
)
Value = TypeVar("Value")


def with_texts(value: Value, text: str) -> Value:
    """`value` with each text replaced; words of a fixed set are kept, so that every section is still shown."""
    return cast(Value, _with_texts(value, text))


def _with_texts(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return text
    if isinstance(value, BaseModel):
        free = [name for name, field in type(value).model_fields.items() if "Literal" not in str(field.annotation)]
        changes = {name: getattr(value, name) for name in free} | (value.model_extra or {})
        return value.model_copy(update={name: _with_texts(entry, text) for name, entry in changes.items()})
    if isinstance(value, dict):
        return {key: _with_texts(entry, text) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_texts(entry, text) for entry in value)
    return value
