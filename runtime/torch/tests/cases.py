"""Files of test/torch-cases.ts in; calls with their tensors, masks and expected outputs out. Numpy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import numpy as np


def uniform(seed: int, count: int) -> np.ndarray:
    """Numbers in [0, 1): splitmix32, as the testing kit draws them."""
    with np.errstate(over="ignore"):
        z = np.uint32(seed & 0xFFFFFFFF) + np.uint32(0x9E3779B9) * np.arange(1, count + 1, dtype=np.uint32)
        z = (z ^ (z >> np.uint32(16))) * np.uint32(0x21F0AAAD)
        z = (z ^ (z >> np.uint32(15))) * np.uint32(0x735A2D97)
        return (z ^ (z >> np.uint32(15))).astype(np.float64) / 2.0**32


def tensor(shape: Any, seed: int) -> np.ndarray:
    """About normal: the sum of three uniform numbers, in f32."""
    u = uniform(seed, 3 * int(np.prod(shape))).reshape(-1, 3)
    return ((u[:, 0] + u[:, 1] + u[:, 2] - 1.5) * 2).astype(np.float32).reshape(shape)


class Case:
    def __init__(self, pattern: str, number: int, call: Dict[str, Any], data: bytes) -> None:
        self.pattern, self.number, self.call, self._data = pattern, number, call, data
        for name in ("batch", "qHeads", "kvHeads", "qRows", "kvRows", "headDim", "valueDim", "seed"):
            setattr(self, name, call[name])
        self.scale = self.headDim**-0.5 if call["scale"] is None else call["scale"]
        self.params, self.lengths = call["params"], call["lengths"]

    def __repr__(self) -> str:
        c = self.call
        dims = f"{c['batch']}x{c['qHeads']}/{c['kvHeads']}x{c['qRows']}/{c['kvRows']} d{c['headDim']}x{c['valueDim']}"
        return f"{self.pattern}-{self.number}-{dims}"

    def qkv(self) -> List[np.ndarray]:
        shapes = (
            (self.batch, self.qHeads, self.qRows, self.headDim),
            (self.batch, self.kvHeads, self.kvRows, self.headDim),
            (self.batch, self.kvHeads, self.kvRows, self.valueDim),
        )
        return [tensor(shape, self.seed * 4 + 1 + i) for i, shape in enumerate(shapes)]

    def tables(self) -> Dict[str, np.ndarray]:
        """Flat; their shapes follow from the artefact."""
        kinds = {"i32": np.int32, "f32": np.float32}
        found = self.call["tables"].items()
        return {n: np.frombuffer(self._data, kinds[t["type"]], t["count"], t["at"]) for n, t in found}

    def rows(self) -> Dict[str, np.ndarray]:
        """Of a program: vectors [batch, sharers, tokens, channels] that it takes beside q, k and v."""
        found = self.call.get("rows", {}).items()
        return {n: np.frombuffer(self._data, np.float32, int(np.prod(r["shape"])), r["at"]).reshape(r["shape"]) for n, r in found}

    def mask(self) -> np.ndarray:
        """Bool [batch, heads, rows, kv rows]: rows of the tensors, padding included."""
        shape = (self.batch, self.qHeads, self.qRows, self.kvRows)
        count = int(np.prod(shape))
        bits = np.frombuffer(self._data, np.uint8, -(-count // 8), self.call["mask"])
        return np.unpackbits(bits, bitorder="little")[:count].astype(bool).reshape(shape)

    def oracle(self) -> Any:
        """(out, lse, valueMax, logitMax) where the pattern changes logits; else None: the mask says all."""
        o = self.call["oracle"]
        if o is None:
            return None
        rows = (self.batch, self.qHeads, self.qRows)
        count = int(np.prod(rows))
        out = np.frombuffer(self._data, np.float32, count * self.valueDim, o["out"]).reshape(*rows, self.valueDim)
        lse = np.frombuffer(self._data, np.float32, count, o["lse"]).reshape(rows)
        return out, lse, o["valueMax"], o["logitMax"]

    def allowed(self) -> Optional[Dict[str, float]]:
        """Errors of a program's `out` and `lse` that are twice those of plain attention; None: there is another rule."""
        return (self.call["oracle"] or {}).get("allowed")


def read_cases(folder: Path) -> Iterator[Case]:
    for path in sorted(Path(folder).glob("*.cases.json")):
        record = json.loads(path.read_text())
        data = (Path(folder) / f"{record['pattern']}.bin").read_bytes()
        for number, call in enumerate(record["calls"]):
            yield Case(record["pattern"], number, call, data)
