"""A call of a program whose batch entries differ in their real rows in; its result, a call for each entry of what is real, out.

Programs take every row as real. What an entry lacks at either end is cut off, of rows that it gives too; tables go by positions,
which count from the first real row, so what they have beyond the last is cut off. Rows of padding give output 0 and LSE -inf, as
they do in other kernels. In its own call an entry is batch entry 0.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch

from .artifact import Artifact
from .errors import HeddleError
from .plan import TABLE_TYPES, check_table, check_tensors, out_strides, table_shape
from .program_checks import check_rows
from .values import resolve_lengths

Run = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, List[torch.Tensor]], Tuple[torch.Tensor, torch.Tensor]]


def by_entry(
    artifact: Artifact,
    run: Run,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    given: Sequence[torch.Tensor],
    lengths: Sequence[int],
) -> Tuple[torch.Tensor, torch.Tensor]:
    """`given`: tables, then rows; `lengths`: five numbers a batch entry; `run` makes one call without lengths."""
    sizes = check_tensors(q, k, v, None)
    entries = [list(lengths[i : i + 5]) for i in range(0, len(lengths), 5)]
    resolve_lengths(entries, sizes.batch, sizes.q_rows, sizes.kv_rows)
    if entries == [[0, sizes.kv_rows - sizes.q_rows, sizes.q_rows, 0, sizes.kv_rows]] * sizes.batch:
        return run(q, k, v, list(given))
    tables = given[: len(artifact.tables)]
    index_heads = check_rows(artifact, given[len(tables) :], sizes, q.device)
    for info, t in zip(artifact.tables, tables):
        check_table(info["name"], t, TABLE_TYPES[info["type"]], info["dims"], table_shape(info, sizes, index_heads), q.device)
    shape = (sizes.batch, sizes.q_heads, sizes.q_rows, sizes.value_dim)
    out = q.new_empty_strided(shape, out_strides(shape, q.stride(2) > q.stride(1))).zero_()
    lse = q.new_full(shape[:3], -math.inf, dtype=torch.float32)
    for b, (q_row, q_start, q_len, kv_start, kv_len) in enumerate(entries):
        if q_len == 0 or kv_len == 0:
            continue
        if q_start != kv_len - q_len:
            raise HeddleError("program-start", pattern=artifact.pattern, batch=b, expected=kv_len - q_len, got=q_start)
        by_position = {"batch": (b, 1), "qLen": (0, q_len), "kvLen": (0, kv_len)}
        by_row = {"batch": (b, 1), "qLen": (q_row, q_len), "kvLen": (kv_start, kv_len)}
        own = [_cut(t, info["dims"], by_position) for t, info in zip(given, artifact.tables)]
        own += [_cut(t, _axes_of(info), by_row) for t, info in zip(given[len(own) :], artifact.rows)]
        keys = slice(kv_start, kv_start + kv_len)
        queries = slice(q_row, q_row + q_len)
        out[b : b + 1, :, queries], lse[b : b + 1, :, queries] = run(
            q[b : b + 1, :, queries], k[b : b + 1, :, keys], v[b : b + 1, :, keys], own
        )
    return out, lse


def _axes_of(info: Any) -> List[Any]:
    """Of rows: a table's dims, as far as they can be cut."""
    tokens = 1 if info["grain"] == "whole" else "qLen" if info["side"] == "q" else "kvLen"
    return ["batch", info["share"], tokens, "channels"]


def _cut(t: torch.Tensor, dims: Sequence[Any], spans: Dict[str, Tuple[int, int]]) -> torch.Tensor:
    for axis, dim in enumerate(dims):
        if dim in spans:
            t = t.narrow(axis, *spans[dim])
    return t
