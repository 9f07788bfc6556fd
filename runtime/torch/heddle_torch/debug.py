"""Checks that read tensors back from the device: tables, lengths and page numbers in, an error that names the element out.

They are on where HEDDLE_DEBUG was set when this was imported, or after set_debugging(True); each waits for the device.
"""

from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

from .errors import HeddleError
from .values import resolve_lengths


_on = os.environ.get("HEDDLE_DEBUG", "") not in ("", "0")


def debugging() -> bool:
    return _on


def set_debugging(on: bool) -> None:
    global _on
    _on = on


def check_table_values(info: Mapping[str, Any], table: Any) -> None:
    """In the declared range, and in order where that is promised: the compiler's proofs start from both."""
    flat = table.detach().reshape(-1).cpu()
    least = float("-inf") if info["min"] is None else info["min"]
    most = float("inf") if info["max"] is None else info["max"]
    outside = ((flat < least) | (flat > most)).nonzero()
    if outside.numel():
        at = int(outside[0])
        raise HeddleError("table-value", name=info["name"], at=at, min=least, max=most, got=flat[at].item())
    row = table.shape[-1]
    if info["monotone"] and row > 1:
        rows = flat.reshape(-1, row)
        falls = (~(rows[:, 1:] >= rows[:, :-1])).nonzero()
        if falls.numel():
            r, c = falls[0].tolist()
            raise HeddleError("table-monotone", name=info["name"], at=r * row + c + 1)


def check_lengths(rows: Any, batch: int, q_rows: int, kv_rows: int) -> None:
    resolve_lengths(rows.cpu().tolist(), batch, q_rows, kv_rows)


def check_pages(pages: Any, lengths: Sequence[int], page_size: int, page_count: int) -> None:
    """Every entry that a length reaches names a page that k and v hold. `lengths`: five numbers a batch entry."""
    for b, entries in enumerate(pages.cpu().tolist()):
        _, _, _, start, length = lengths[5 * b : 5 * b + 5]
        first, last = start // page_size, -(-(start + length) // page_size)
        for i in range(first, min(last, len(entries))):
            if not 0 <= entries[i] < page_count:
                raise HeddleError("page", batch=b, entry=i, most=page_count - 1, got=entries[i])
