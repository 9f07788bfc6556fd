"""Params and lengths of one call in, checked, and as the 32-bit words that the kernel reads (`values`, `lengths`) out."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .artifact import Artifact
from .errors import HeddleError
from .rules import derived_bits, evaluate, float_bits, fround, leaves_of

FIELDS = ("qRow", "qStart", "qLen", "kvStart", "kvLen")
# What the compiler's proofs of index arithmetic rely on.
LENGTH_LIMIT = 2**22

Params = Dict[str, Tuple[float, ...]]


def _is_list(x: Any) -> bool:
    return isinstance(x, (list, tuple)) or (hasattr(x, "tolist") and getattr(x, "ndim", 0) == 1)


def resolve_params(artifact: Artifact, given: Mapping[str, Any], q_heads: int) -> Params:
    """One value per query head for a perHead param, else one; f32 values rounded."""
    for name in given:
        if name not in artifact.param_names:
            raise unknown_name(artifact, name)
    return {s["name"]: _values_of(s, given.get(s["name"], s["default"]), q_heads) for s in artifact.params}


def unknown_name(artifact: Artifact, name: str) -> HeddleError:
    return HeddleError(
        "name-unknown",
        name=name,
        pattern=artifact.pattern,
        params=list(artifact.param_names),
        tables=list(artifact.table_names + artifact.row_names),
    )


def check_param(spec: Mapping[str, Any], got: Any) -> float:
    name, kind, least, most = spec["name"], spec["type"], spec["min"], spec["max"]
    good = isinstance(got, (int, float)) and not isinstance(got, bool) and math.isfinite(got)
    if good and (kind == "f32" or got == int(got)):
        # The bounds hold for what the kernel sees: rounding to f32 may step over one by half a unit in the last place.
        value, lo, hi = (fround(got), fround(least), fround(most)) if kind == "f32" else (got, least, most)
        if lo <= value <= hi:
            return value + 0.0 if kind == "f32" else int(value)
    raise HeddleError("param-value", name=name, type=kind, min=least, max=most, got=got)


def _values_of(spec: Mapping[str, Any], given: Any, q_heads: int) -> Tuple[float, ...]:
    if not _is_list(given):
        given = given.item() if hasattr(given, "item") else given
        return (check_param(spec, given),) * (q_heads if spec["perHead"] else 1)
    if not spec["perHead"]:
        raise HeddleError("param-scalar", name=spec["name"])
    given = given.tolist() if hasattr(given, "tolist") else given
    if len(given) == 1:
        return (check_param(spec, given[0]),) * q_heads
    if len(given) != q_heads:
        raise HeddleError("param-count", name=spec["name"], expected=q_heads, got=len(given))
    return tuple(check_param(spec, x) for x in given)


def default_lengths(batch: int, q_rows: int, kv_rows: int) -> List[int]:
    if kv_rows < q_rows and kv_rows > 0 and batch > 0:
        raise HeddleError("negative-start", batch=0, q_len=q_rows, kv_len=kv_rows)
    start = kv_rows - q_rows if q_rows > 0 and kv_rows > 0 else 0
    return [0, start, q_rows, 0, kv_rows] * batch


def lengths_over(lengths: List[int], rows: int) -> List[int]:
    """The same queries over so many keys, whose numbers take the place of tokens."""
    return [n for i in range(0, len(lengths), 5) for n in (*lengths[i : i + 3], 0, rows)]


def resolve_lengths(lengths: Any, batch: int, q_rows: int, kv_rows: int) -> List[int]:
    """One entry per batch, a record with some of the five fields or a row of all five, as 5 * batch numbers."""
    if lengths is None:
        return default_lengths(batch, q_rows, kv_rows)
    if hasattr(lengths, "tolist"):
        lengths = lengths.tolist()
    if not isinstance(lengths, (list, tuple)) or len(lengths) != batch:
        got = len(lengths) if isinstance(lengths, (list, tuple)) else repr(lengths)
        raise HeddleError("lengths-count", expected=batch, got=got)
    return [x for b, entry in enumerate(lengths) for x in _resolve(entry, b, q_rows, kv_rows)]


def _resolve(entry: Any, b: int, q_rows: int, kv_rows: int) -> List[int]:
    if isinstance(entry, (list, tuple)) and len(entry) == len(FIELDS):
        entry = dict(zip(FIELDS, entry))
    if not isinstance(entry, Mapping):
        raise HeddleError("length-unknown", field=repr(entry), batch=b)
    for field in entry:
        if field not in FIELDS:
            raise HeddleError("length-unknown", field=field, batch=b)

    def whole(field: str, otherwise: int, least: int, most: int) -> int:
        got = entry.get(field)
        if got is None:
            got = otherwise
        if isinstance(got, bool) or not isinstance(got, (int, float)) or got != int(got) or not least <= got <= most:
            raise HeddleError("length", field=field, batch=b, least=least, most=most, got=got)
        return int(got)

    q_row = whole("qRow", 0, 0, q_rows)
    q_len = whole("qLen", q_rows - q_row, 0, q_rows - q_row)
    kv_start = whole("kvStart", 0, 0, kv_rows)
    kv_len = whole("kvLen", kv_rows - kv_start, 0, kv_rows - kv_start)
    # Where there is nothing to attend or nobody to attend, the position of the first query means nothing.
    free = kv_len == 0 or q_len == 0
    if entry.get("qStart") is None and kv_len < q_len and not free:
        raise HeddleError("negative-start", batch=b, q_len=q_len, kv_len=kv_len)
    q_start = whole("qStart", 0 if free else kv_len - q_len, -LENGTH_LIMIT, LENGTH_LIMIT - q_len)
    return [q_row, q_start, q_len, kv_start, kv_len]


def reads_lengths(artifact: Artifact) -> Optional[str]:
    """The name of a derived uniform that is computed from lengths, or None."""
    for d in artifact.derived:
        if leaves_of(d["value"]) & {"var qLen", "var kvLen"}:
            return d["name"]
    return None


def value_words(
    artifact: Artifact, params: Params, batch: int, q_heads: int, kv_heads: int, head_dim: int, lengths: Sequence[int]
) -> List[int]:
    """Scalar params one word each, then perHead params qHeads each, then derived uniforms batch * qHeads each."""

    def bits(spec: Mapping[str, Any], x: float) -> int:
        return float_bits(x) if spec["type"] == "f32" else int(x)

    words = [bits(s, params[s["name"]][0]) for s in artifact.params if not s["perHead"]]
    words += [bits(s, x) for s in artifact.params if s["perHead"] for x in params[s["name"]]]
    for uniform in artifact.derived:
        words += _derived_words(uniform, params, batch, q_heads, kv_heads, head_dim, lengths)
    return words


def _derived_words(
    uniform: Mapping[str, Any],
    params: Params,
    batch: int,
    q_heads: int,
    kv_heads: int,
    head_dim: int,
    lengths: Sequence[int],
) -> List[int]:
    """Evaluated once for each different set of what it reads: usually few of the batch * qHeads places differ."""
    leaves = sorted(leaves_of(uniform["value"]))
    known: Dict[Tuple[float, ...], int] = {}
    words = []
    for b in range(batch):
        q_len, kv_len = (lengths[5 * b + 2], lengths[5 * b + 4]) if lengths else (0, 0)
        for head in range(q_heads):
            variables = {
                "batch": b,
                "head": head,
                "kvHead": head // (q_heads // kv_heads),
                "qLen": q_len,
                "kvLen": kv_len,
                "qHeads": q_heads,
                "kvHeads": kv_heads,
                "headDim": head_dim,
            }

            def param(name: str) -> float:
                values = params[name]
                return values[head] if len(values) > 1 else values[0]

            key = tuple(variables[x[4:]] if x.startswith("var ") else param(x[6:]) for x in leaves)
            if key not in known:
                known[key] = derived_bits(uniform["type"], evaluate(uniform["value"], variables, param))
            words.append(known[key])
    return words
