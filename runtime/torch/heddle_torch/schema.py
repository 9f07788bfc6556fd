"""A value of unknown origin and a check in; what is wrong with the value, in words, or None out. Checks of records are made of
checks of their fields."""

from __future__ import annotations

import math
from typing import Any, Callable, Optional

# What is wrong with a value, or None.
Check = Callable[[Any, str], Optional[str]]


def is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def is_whole(x: Any) -> bool:
    return is_number(x) and math.isfinite(x) and x == int(x)


def of(test: Callable[[Any], bool], what: str) -> Check:
    return lambda x, path: None if test(x) else f"{path} is no {what}"


string = of(lambda x: isinstance(x, str), "string")
boolean = of(lambda x: isinstance(x, bool), "boolean")
number = of(is_number, "number")
count = of(lambda x: is_whole(x) and x > 0, "positive whole number")
place = of(lambda x: is_whole(x) and x >= 0, "whole number")
# JSON writes an infinite bound as null.
bound = of(lambda x: x is None or is_number(x), "number")
digest = of(lambda x: isinstance(x, str) and len(x) == 64, "SHA-256")


def anything(x: Any, path: str) -> Optional[str]:
    return None


def one_of(*values: Any) -> Check:
    return lambda x, path: None if x in values else f"{path} is {x!r}, none of {', '.join(map(str, values))}"


def nullable(check: Check) -> Check:
    return lambda x, path: None if x is None else check(x, path)


def list_of(check: Check) -> Check:
    def f(x: Any, path: str) -> Optional[str]:
        if not isinstance(x, list):
            return f"{path} is no list"
        return next(filter(None, (check(item, f"{path}[{i}]") for i, item in enumerate(x))), None)

    return f


def record_of(**fields: Check) -> Check:
    def f(x: Any, path: str) -> Optional[str]:
        if not isinstance(x, dict):
            return f"{path or 'it'} is no record"
        inside = f"{path}." if path else ""
        return next(filter(None, (check(x.get(key), inside + key) for key, check in fields.items())), None)

    return f


def map_of(check: Check) -> Check:
    def f(x: Any, path: str) -> Optional[str]:
        if not isinstance(x, dict):
            return f"{path} is no record"
        return next(filter(None, (check(item, f"{path}.{key}") for key, item in x.items())), None)

    return f
