"""A batch's padding in, as transformers' mask functions get it; which rows and keys are real, as the kernels read it, out.

The lengths are int32 [batch, 1, 1, 5], on the device and computed there: four dimensions, because transformers hands a mask
of four dimensions on as it is, also where it is made before the model is called.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple, Union

import torch

from .gpu import gpu

Offset = Union[int, torch.Tensor]


def is_lengths(mask: Any) -> bool:
    return isinstance(mask, torch.Tensor) and mask.dtype == torch.int32 and mask.dim() == 4 and tuple(mask.shape[1:]) == (1, 1, 5)


def keep_rows(lengths: torch.Tensor, rows: List[int]) -> None:
    """The same numbers on the host, with the tensor: programs of several kernels take them from there."""
    lengths.heddle_rows = rows  # type: ignore[attr-defined]


def rows_of(lengths: torch.Tensor) -> Optional[List[int]]:
    """Five numbers a batch entry, or None where nobody has read them back."""
    return getattr(lengths, "heddle_rows", None) if can_wait() else None


def can_wait() -> bool:
    """A number may be read back from the device: nothing is traced or captured."""
    return not torch.compiler.is_compiling() and not gpu.capturing()


def lengths_of(
    padding: Optional[torch.Tensor], batch: int, rows: int, at: Offset, device: Any
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    """`padding`: bool [batch, positions], or None where all are real; queries stand at `at` to `at + rows - 1` among them,
    and what lies beyond is not there yet. Returns the lengths, and whether each batch entry's real positions are a run."""
    end = at + rows
    if padding is None:
        # Sums, since nothing may be copied from the host while a graph is captured.
        zero = torch.zeros(1, dtype=torch.int32, device=device)
        row = torch.stack([zero, zero + at, zero + rows, zero, zero + end], -1).to(torch.int32)
        return row.expand(batch, 5).reshape(batch, 1, 1, 5), None
    column = torch.arange(padding.shape[1], device=device)
    real = padding & (column < end)
    count = real.sum(-1)
    first = torch.where(real, column, padding.shape[1]).amin(-1)
    last = torch.where(real, column, -1).amax(-1)
    first = torch.where(count > 0, first, 0)
    row_begin = (first - at).clamp(0, rows)
    row_end = (first + count - at).clamp(0, rows)
    q_len = (row_end - row_begin).clamp(min=0)
    q_start = torch.where(q_len > 0, at + row_begin - first, 0)
    lengths = torch.stack([row_begin, q_start, q_len, first, count], -1).to(torch.int32)
    return lengths.view(batch, 1, 1, 5), (last - first + 1 == count) | (count == 0)


def dense_mask(lengths: torch.Tensor, rows: int, keys: int) -> torch.Tensor:
    """Bool [batch, 1, rows, keys] of causal attention; rows of padding see all keys, so that their softmax is a number."""
    q_row, q_start, q_len, kv_start, kv_len = (x[..., None] for x in lengths.long().unbind(-1))
    row = torch.arange(rows, device=lengths.device).view(1, 1, rows, 1) - q_row
    key = torch.arange(keys, device=lengths.device).view(1, 1, 1, keys) - kv_start
    kept = (key >= 0) & (key < kv_len) & (key <= row + q_start)
    return kept | (row < 0) | (row >= q_len)
