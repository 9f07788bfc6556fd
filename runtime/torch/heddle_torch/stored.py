"""Values that a program's kernels hand on: its steps and a call's sizes in; where each lies in one workspace, those that never
meet in one place, out."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from .errors import HeddleError
from .stage_schema import kernels_in

GRANULE = 256
HEADER_WORDS = 4
# Indices are words of 32 bits.
MOST_WORDS = 2**32 - 1

Size = Callable[[Any], int]


class Life(NamedTuple):
    """Bytes of a value, and the steps that first and last speak of it."""

    bytes: int
    first: int
    last: int


def aligned(n: int, granule: int = GRANULE) -> int:
    return -(-n // granule) * granule


def pack(lives: Sequence[Life]) -> Tuple[List[int], int]:
    """Offsets, and bytes of all: the largest first, each as low as those allow that it meets."""
    offsets = [0] * len(lives)
    placed: List[Tuple[int, int, Life]] = []
    for i in sorted(range(len(lives)), key=lambda i: (-lives[i].bytes, i)):
        life, at = lives[i], 0
        size = aligned(life.bytes)
        for begin, end, other in sorted(p for p in placed if p[2].first <= life.last and life.first <= p[2].last):
            if at + size <= begin:
                break
            at = max(at, end)
        offsets[i] = at
        placed.append((at, at + size, life))
    return offsets, max((end for _, end, _ in placed), default=0)


def stored_of(kernel: Mapping[str, Any]) -> List[str]:
    """The stored values that a kernel reads or writes."""
    return [b["name"] for b in kernel["buffers"] if b["role"] == "stored"]


def _lives(program: Mapping[str, Any]) -> Dict[str, Tuple[int, int]]:
    """What a step's kernels speak of lives through all of it."""
    found: Dict[str, Tuple[int, int]] = {}
    for i, step in enumerate(program["steps"]):
        for kernel in kernels_in(step):
            for name in stored_of(kernel):
                found[name] = (found.get(name, (i, i))[0], i)
    return found


class Stored(NamedTuple):
    offsets: Dict[str, int]
    words: Dict[str, int]
    # The first word of a list: its units.
    headers: Dict[str, int]
    bytes: int


def place_stored(program: Mapping[str, Any], size: Size) -> Stored:
    values = program["stored"]
    words = [max(HEADER_WORDS, size(s["words"])) for s in values]
    for s, count in zip(values, words):
        if count > MOST_WORDS:
            raise HeddleError("stored-limit", program=program["id"], name=s["name"], bytes=4 * count, most=4 * MOST_WORDS)
    lives = _lives(program)
    offsets, total = pack([Life(4 * n, *lives.get(s["name"], (0, 0))) for s, n in zip(values, words)])
    names = [s["name"] for s in values]
    headers = {s["name"]: size(s["units"]) for s in values if s["units"] is not None}
    return Stored(dict(zip(names, offsets)), dict(zip(names, words)), headers, total)
