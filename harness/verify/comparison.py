"""Where two JSON documents differ first, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def first_difference(found: Any, told: Any, *, only_common: bool, path: str = "") -> str | None:
    """Where two JSON values differ first, as `key.key[place] is <told> instead of <found>`; None where they do not.

    Args:
        found: what was computed again.
        told: what the document says.
        only_common: leave out the keys that one side alone has: another version of this program wrote them.
        path: of the values, for the answer.
    """
    if isinstance(found, Mapping) and isinstance(told, Mapping):
        both = found.keys() & told.keys() if only_common else found.keys() | told.keys()
        for key in sorted(both):
            at = f"{path}.{key}" if path else str(key)
            if key not in found or key not in told:
                return f"{at} {'should not be there' if key not in found else 'is missing'}"
            if different := first_difference(found[key], told[key], only_common=only_common, path=at):
                return different
        return None
    if isinstance(found, list | tuple) and isinstance(told, list | tuple):
        if len(found) != len(told):
            return f"{path} has {len(told)} entries instead of {len(found)}"
        pairs = enumerate(zip(found, told, strict=True))
        every = (first_difference(a, b, only_common=only_common, path=f"{path}[{n}]") for n, (a, b) in pairs)
        return next((one for one in every if one), None)
    if _text(found) != _text(told):
        return f"{path} is {_text(told)[:90]} instead of {_text(found)[:90]}"
    return None


def _text(value: Any) -> str:
    """One spelling of a JSON value: NaN equals itself, 1 is not 1.0, True is not 1."""
    return json.dumps(value, sort_keys=True)
