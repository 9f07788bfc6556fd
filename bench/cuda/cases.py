"""The file that prepare.ts writes in; the suite's cases with their exact counts out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

READS_VERSION = 1
ELEMENT = 2  # bytes of a bf16


@dataclass(frozen=True)
class Counts:
    kept: int
    keys: int
    # By tile shape, "128x64".
    tiles: Mapping[str, Mapping[str, int]]
    samples: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Ours:
    pattern: str
    skeleton: Optional[str]
    params: Mapping[str, Any]
    # Runs of one value: (value, how often).
    tables: Mapping[str, Sequence[Tuple[int, int]]]
    goals: Sequence[Mapping[str, Any]]
    floor: Optional[Mapping[str, Any]]
    counts: Counts


@dataclass(frozen=True)
class Case:
    name: str
    batch: int
    q_heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    peers: Sequence[str]
    ours: Sequence[Ours]
    note: Optional[str]

    @property
    def group(self) -> int:
        return self.q_heads // self.kv_heads

    @property
    def decodes(self) -> bool:
        return self.q_len == 1

    def flops(self, pairs: float) -> float:
        """Multiplications and additions of both products."""
        return 4.0 * self.head_dim * pairs

    def visited_pairs(self, ours: Ours, tile: Tuple[int, int]) -> Optional[int]:
        counted = ours.counts.tiles.get(f"{tile[0]}x{tile[1]}")
        return None if counted is None else counted["visited"] * min(tile[0], self.q_len) * tile[1]

    def bytes(self, ours: Ours) -> float:
        """What any kernel must move: keys and values that some query keeps, queries and outputs, each once."""
        keys = ours.counts.keys / self.group
        rows = self.batch * self.q_heads * self.q_len
        return ELEMENT * self.head_dim * 2.0 * (keys + rows)

    def row_name(self, ours: Ours) -> str:
        same = all(o.pattern == ours.pattern for o in self.ours)
        return self.name if same else f"{self.name}: {ours.pattern}"


def expand(runs: Sequence[Tuple[int, int]]) -> List[int]:
    return [value for value, count in runs for _ in range(count)]


def _ours(record: Dict[str, Any]) -> Ours:
    counts = record["counts"]
    return Ours(
        pattern=record["pattern"],
        skeleton=record.get("skeleton"),
        params=record.get("params", {}),
        tables=record.get("tables", {}),
        goals=record.get("goals", []),
        floor=record.get("floor"),
        counts=Counts(counts["kept"], counts["keys"], counts["tiles"], counts["samples"]),
    )


def _case(record: Dict[str, Any]) -> Case:
    return Case(
        name=record["name"],
        batch=record["batch"],
        q_heads=record["qHeads"],
        kv_heads=record["kvHeads"],
        q_len=record["qLen"],
        kv_len=record["kvLen"],
        head_dim=record["headDim"],
        peers=record["peers"],
        ours=[_ours(o) for o in record["ours"]],
        note=record.get("note"),
    )


def read_cases(path: Path) -> Tuple[List[Case], Dict[str, str]]:
    """The cases, and the versions of what counted them."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("version") != READS_VERSION:
        raise ValueError(f"{path} has version {record.get('version')}, not {READS_VERSION}: run prepare.ts again")
    return [_case(c) for c in record["cases"]], record["versions"]
