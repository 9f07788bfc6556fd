"""A call of a program: its sizes, params and the shapes of what it gives in; numbers for rules, uniforms and grids out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Sequence, Tuple

from .call import Sizes
from .rules import evaluate
from .stage_schema import CHANNELS
from .stored import Size
from .values import Params

MOST_OF_HEADS = ".most"

# What a kernel reads beside its numbers: a role of the manifest, and the name of a table, rows or a stored value.
Buffer = Tuple[str, Optional[str]]


@dataclass(frozen=True)
class ProgramCall:
    """`channels`: how wide rows are. `words`: elements of four bytes of everything that the call gives, halves counted in pairs."""

    sizes: Sizes
    index_heads: int
    scale: float
    params: Params
    channels: Mapping[str, int]
    strides: Mapping[str, Sequence[int]]
    words: Mapping[Buffer, int]

    def size(self) -> Size:
        """Sizes as numbers: of lengths, heads, params (of those per head the greatest) and widths of rows."""
        s = self.sizes
        variables = {
            "batches": s.batch,
            "qHeads": s.q_heads,
            "kvHeads": s.kv_heads,
            "indexHeads": self.index_heads,
            "qLen": s.q_rows,
            "kvLen": s.kv_rows,
            "headDim": s.head_dim,
            "valueDim": s.value_dim,
        }
        return lambda e: int(evaluate(e, variables, self._greatest))

    def _greatest(self, name: str) -> float:
        values = self.params.get(name)
        return float(max(values) if values is not None else self.channels[name[: -len(CHANNELS)]])

    def uniform(self, name: str) -> float:
        """Of a name behind the fixed fields: a scalar param, the greatest value of one per head, or how wide rows are."""
        if name in self.params:
            return self.params[name][0]
        return self._greatest(name[: -len(MOST_OF_HEADS)] if name.endswith(MOST_OF_HEADS) else name)

    def sharers(self, share: str) -> int:
        s = self.sizes
        own = {"head": s.q_heads, "kvHead": s.kv_heads, "request": 1, "indexHead": self.index_heads}
        return s.batch * own[share]


def program_call(
    sizes: Sizes,
    index_heads: int,
    scale: float,
    params: Params,
    shapes: Mapping[str, Sequence[int]],
    strides: Mapping[str, Sequence[int]],
    meta: int,
    tables: Mapping[str, int],
    rows: Mapping[str, Sequence[int]],
) -> ProgramCall:
    """`shapes` and `strides` of q, k, v and out; `meta`: its words; `tables`: elements of each; `rows`: the shape of each."""
    words: Dict[Buffer, int] = {(name, None): pairs_of(shape, strides[name]) for name, shape in shapes.items()}
    words[("lse", None)] = sizes.batch * sizes.q_heads * sizes.q_rows
    words[("meta", None)] = meta
    words.update({("table", name): count for name, count in tables.items()})
    words.update({("rows", name): math.prod(shape) for name, shape in rows.items()})
    channels = {name: shape[3] for name, shape in rows.items()}
    return ProgramCall(sizes, index_heads, scale, params, channels, strides, words)


def pairs_of(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements of four bytes from a tensor's first half to its last. `strides`: of all axes but the last, which is contiguous."""
    if 0 in shape:
        return 0
    last = shape[-1] - 1 + sum((n - 1) * s for n, s in zip(shape[:-1], strides))
    return last // 2 + 1
