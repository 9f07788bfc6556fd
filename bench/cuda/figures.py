"""Times and counts of a case in; the rows of bench/results/cuda.json out: rates, ratios, and whether a goal is met."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from cases import Case, Ours

Row = Dict[str, Any]


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(values: Sequence[float]) -> float:
    """From the tenth to the ninetieth percentile, as a share of the median."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return (ordered[math.ceil(0.9 * last)] - ordered[math.floor(0.1 * last)]) / median(ordered)


def rounded(value: Any) -> Any:
    """Four significant digits, at every depth: what a repeated run would not reproduce is noise in a diff."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    if isinstance(value, float):
        if value == int(value):
            return int(value)
        return float(f"{value:.4g}")
    return value


def rate(flops: float, ms: float) -> float:
    """TFLOP/s."""
    return flops / ms / 1e9


@dataclass
class Timed:
    name: str
    times: Sequence[float]
    error: Optional[float] = None
    # What a peer must do before its first call, by name, in ms.
    preparation: Mapping[str, float] = field(default_factory=dict)

    @property
    def ms(self) -> float:
        return median(self.times)


@dataclass
class Measured:
    """One kernel of ours in one case."""

    case: Case
    ours: Ours
    variant: str
    tile: Tuple[int, int]
    timed: Timed
    floor_ms: Optional[float] = None

    @property
    def kept_rate(self) -> float:
        return rate(self.case.flops(self.ours.counts.kept), self.timed.ms)

    @property
    def visited_rate(self) -> Optional[float]:
        pairs = self.case.visited_pairs(self.ours, self.tile)
        return None if pairs is None else rate(self.case.flops(pairs), self.timed.ms)


Known = Mapping[str, Measured]


def judge(goal: Mapping[str, Any], mine: Measured, peer: Optional[Timed], known: Known) -> Optional[Tuple[str, bool]]:
    """The goal in words and whether it is met; None if it is not of this row or cannot be told."""
    kind = goal["kind"]
    if kind == "peer":
        if peer is None or not peer.name.startswith(goal["peer"]):
            return None
        return f"{goal['least']} x {goal['peer']}", peer.ms / mine.timed.ms >= goal["least"]
    other = known.get(goal["of"])
    if other is None:
        return None
    if kind == "kept rate":
        return f"{goal['least']} x the rate of {goal['of']}", mine.kept_rate >= goal["least"] * other.kept_rate
    if kind == "visited rate":
        here, there = mine.visited_rate, other.visited_rate
        if here is None or there is None:
            return None
        return f"on visited tiles {goal['least']} x the rate of {goal['of']}", here >= goal["least"] * there
    if kind == "bytes":
        excess = time_over_bytes(mine, other)
        text = f"time / bytes within {goal['most']} x {goal['of']}"
        return None if excess is None else (text, excess <= goal["most"])
    raise ValueError(f"no goal is called {kind}")


def time_over_bytes(mine: Measured, other: Measured) -> Optional[float]:
    """Share of the other's time above the launch floor over the share of its bytes."""
    if mine.floor_ms is None:
        return None
    time_share = (mine.timed.ms - mine.floor_ms) / (other.timed.ms - mine.floor_ms)
    return time_share / (mine.case.bytes(mine.ours) / other.case.bytes(other.ours))


def rows_of(mine: Measured, peers: Sequence[Timed], known: Known) -> List[Row]:
    """One row a peer; a goal that is none of a peer's stands in the first."""
    rows: List[Row] = []
    for i, peer in enumerate(list(peers) or [None]):
        goals = [g for g in mine.ours.goals if g["kind"] == "peer" or i == 0]
        judged = [found for g in goals if (found := judge(g, mine, peer, known)) is not None]
        rows.append(_row(mine, peer, judged, known))
    return rows


def _row(mine: Measured, peer: Optional[Timed], judged: Sequence[Tuple[str, bool]], known: Known) -> Row:
    case, ours = mine.case, mine.ours
    flops = case.flops(ours.counts.kept)
    row: Row = {
        "case": case.row_name(ours),
        "target": f"cuda {mine.variant}",
        "ours": {"ms": mine.timed.ms, "tflops": mine.kept_rate},
    }
    if peer is not None:
        row["peer"] = {"name": peer.name, "ms": peer.ms, "tflops": rate(flops, peer.ms)}
        row["ratio"] = peer.ms / mine.timed.ms
    counted = ours.counts.tiles.get(f"{mine.tile[0]}x{mine.tile[1]}")
    if counted is not None:
        heads = case.batch * case.q_heads
        row["tiles"] = {"needed": counted["needed"] / heads, "visited": counted["visited"] / heads}
    if judged:
        row["limit"] = "; ".join(text for text, _ in judged)
        row["ok"] = all(met for _, met in judged)
    row["more"] = _more(mine, peer, known)
    if case.note is not None:
        row["note"] = case.note
    return rounded(row)


def _more(mine: Measured, peer: Optional[Timed], known: Known) -> Dict[str, Any]:
    case, ours = mine.case, mine.ours
    more: Dict[str, Any] = {}
    if case.decodes:
        more["TB/s"] = case.bytes(ours) / mine.timed.ms / 1e9
        if mine.floor_ms is not None:
            more["launch floor ms"] = mine.floor_ms
        for goal in ours.goals:
            if goal["kind"] == "bytes" and goal["of"] in known:
                more["time / bytes"] = time_over_bytes(mine, known[goal["of"]])
    else:
        if mine.visited_rate is not None:
            more["TFLOP/s on visited tiles"] = mine.visited_rate
        more["FLOP/byte"] = case.flops(ours.counts.kept) / case.bytes(ours)
    more["spread %"] = 100 * spread(mine.timed.times)
    if mine.timed.error is not None:
        more["error"] = mine.timed.error
    if peer is not None:
        more["peer spread %"] = 100 * spread(peer.times)
        for name, ms in peer.preparation.items():
            more[f"peer's {name} ms"] = ms
    return more
