"""What the layers of a model run: a record as a model's config holds it in; for one layer, which heads run which pattern out."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .errors import HeddleError

# Instead of a pattern's name: plain causal attention.
DENSE = "dense"
PHASES = ("prefill", "decode")
FIELDS = ("pattern", "params", "heads", "layers", "min_tokens", *PHASES)
HEAD_FIELDS = ("heads", "pattern", "params")


class Run(NamedTuple):
    """Neighbouring query heads that run one pattern, and the key-value heads that they read."""

    heads: Tuple[int, int]
    kv_heads: Tuple[int, int]
    pattern: Optional[str]  # or DENSE; None: nobody said
    params: Mapping[str, Any]
    # Where `heads` and `kv_heads` count from, among the layer's; None: this process has all of them.
    part: Optional[Tuple[int, int]] = None


class Layer(NamedTuple):
    runs: Tuple[Run, ...]
    prefill: bool  # by the patterns; False: dense
    decode: bool
    says_decode: bool  # rather than take it as it is where nothing is said
    min_tokens: int  # over fewer keys it is dense


def refuse(where: str, what: str) -> HeddleError:
    return HeddleError("profile", where=where, what=what)


def _check_fields(entry: Any, fields: Tuple[str, ...], where: str) -> None:
    if not isinstance(entry, Mapping):
        raise refuse(where, f"expected a record, got {entry!r}")
    for field in entry:
        if field not in fields:
            raise refuse(where, f"there is no field {field!r}; there are {', '.join(fields)}")
    pattern, params = entry.get("pattern"), entry.get("params")
    if pattern is not None and not isinstance(pattern, str):
        raise refuse(f"{where}.pattern", f"expected a pattern's name or {DENSE!r}, got {pattern!r}")
    if params is not None and not isinstance(params, Mapping):
        raise refuse(f"{where}.params", f"expected a record, got {params!r}")
    least = entry.get("min_tokens", 0)
    if not isinstance(least, int) or isinstance(least, bool) or least < 0:
        raise refuse(f"{where}.min_tokens", f"expected a whole number of at least 0, got {least!r}")
    for phase in PHASES:
        if entry.get(phase, "pattern") not in ("pattern", DENSE):
            raise refuse(f"{where}.{phase}", f"expected 'pattern' or {DENSE!r}, got {entry[phase]!r}")


def _numbers(given: Any, count: int, where: str) -> List[int]:
    """A number, `first-last`, or a list of such, as JSON's keys can say them too."""
    found: List[int] = []
    for item in given if isinstance(given, (list, tuple)) else str(given).split(","):
        first, _, last = str(item).strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise refuse(where, f"expected numbers or ranges such as '3-7', got {given!r}")
        found += range(int(first), int(last or first) + 1)
    if not found or max(found) >= count:
        raise refuse(where, f"expected numbers from 0 to {count - 1}, got {given!r}")
    return found


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Dict[str, Any]:
    """Field by field; params of another pattern are not taken over."""
    same = over.get("pattern", base.get("pattern")) == base.get("pattern")
    params = {**(base.get("params") or {} if same else {}), **(over.get("params") or {})}
    return {**base, **over, "params": params}


def layer_of(
    profile: Mapping[str, Any], layer: int, layers: int, q_heads: int, kv_heads: int, part: Tuple[int, int] = (0, 1)
) -> Layer:
    """`profile`: {pattern, params, prefill, decode, heads, layers}, all optional; `layers` by number or range holds such
    records again, laid over it, and `heads` a list of {heads, pattern, params} for heads that differ from the rest.
    A param of one value a head lists a value for each head of the record it stands in.
    `part`: which of so many equal parts of the heads this process has, under tensor parallelism; the profile speaks of all."""
    _check_fields(profile, FIELDS, "sparse_attention")
    entry = {k: v for k, v in profile.items() if k != "layers"}
    where = "sparse_attention"
    for numbers, over in (profile.get("layers") or {}).items():
        at = f"sparse_attention.layers[{numbers!r}]"
        _check_fields(over, tuple(f for f in FIELDS if f != "layers"), at)
        if layer in _numbers(numbers, layers, at):
            entry, where = merged(entry, over), at
    every = list(range(q_heads))
    # Of each head its record, and its place among that record's heads.
    owner: List[Tuple[Mapping[str, Any], int, int]] = [(entry, head, q_heads) for head in every]
    for i, own in enumerate(entry.get("heads") or ()):
        at = f"{where}.heads[{i}]"
        _check_fields(own, HEAD_FIELDS, at)
        heads = _numbers(own.get("heads", ()), q_heads, at)
        for place, head in enumerate(heads):
            owner[head] = (own, place, len(heads))
    ways = [entry.get(phase, "pattern") == "pattern" for phase in PHASES]
    index, parts = part
    here, kv_here = q_heads // parts, kv_heads // parts
    runs = _runs(owner[index * here : (index + 1) * here], here, kv_here)
    if parts > 1:
        runs = tuple(run._replace(part=(index * here, index * kv_here)) for run in runs)
    return Layer(runs, *ways, says_decode="decode" in entry, min_tokens=entry.get("min_tokens", 0))


def _runs(owner: List[Tuple[Mapping[str, Any], int, int]], q_heads: int, kv_heads: int) -> Tuple[Run, ...]:
    """Neighbours of one record together, cut so that each run reads whole groups or lies within one."""
    group = q_heads // kv_heads
    runs: List[Run] = []
    start = 0
    while start < q_heads:
        own = owner[start][0]
        same = start + 1
        while same < q_heads and owner[same][0] is own:
            same += 1
        whole = start % group == 0 and same - start >= group
        end = same - same % group if whole else min(same, start - start % group + group)
        kv = (start // group, end // group if whole else start // group + 1)
        name = own.get("pattern")
        params = {k: _of_heads(v, owner[start:end]) for k, v in (own.get("params") or {}).items()}
        runs.append(Run((start, end), kv, name, params))
        start = end
    return tuple(runs)


def _of_heads(value: Any, owned: List[Tuple[Mapping[str, Any], int, int]]) -> Any:
    if isinstance(value, (list, tuple)) and len(value) == owned[0][2] and len(value) > 1:
        return [value[place] for _, place, _ in owned]
    return value
