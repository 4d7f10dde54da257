"""The first difference of two descriptions, such as those of the settings of two ranks."""

from __future__ import annotations

import json
from typing import Any

MISSING = "missing"
MOST_CHARACTERS = 100  # of a value


def first_difference(own: object, other: object) -> tuple[str, str, str]:
    """Return the path of the first value that differs, and both values as texts.

    Args:
        own, other: two dicts, or texts of JSON objects, that differ. Objects in them are compared
            value by value.

    >>> first_difference({"net": '{"layers.2": {"p": 0.5}}'}, {"net": '{"layers.2": {"p": 0.75}}'})
    ('net: layers.2: p', '0.5', '0.75')
    """
    return _difference("", own, other)


def _difference(path: str, own: object, other: object) -> tuple[str, str, str]:
    one, two = _values(own), _values(other)
    for name in [*one, *(name for name in two if name not in one)]:
        values = one.get(name, MISSING), two.get(name, MISSING)
        if values[0] != values[1]:
            return _difference(": ".join(filter(None, (path, name))), *values)
    return path, str(own)[:MOST_CHARACTERS], str(other)[:MOST_CHARACTERS]


def _values(found: object) -> dict[str, Any]:
    """The values of an object by name; empty if it is a value itself."""
    if isinstance(found, str) and found[:1] == "{":
        found = json.loads(found)
    return found if isinstance(found, dict) else {}
