"""A pattern's name, params and tables in; FlexAttention's mask_mod for it out.

These are the peer's programs, written by hand as its users write them. Each is held against what the pattern itself keeps in
sampled rows (verify.py) before anything is timed. They only use operators, so plain integers do as well as tensors.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

MaskMod = Callable[[Any, Any, Any, Any], Any]
Values = Mapping[str, Any]


def causal(params: Values, tables: Values, group: int) -> MaskMod:
    return lambda b, h, q, kv: kv <= q


def full(params: Values, tables: Values, group: int) -> MaskMod:
    return lambda b, h, q, kv: kv >= 0


def sliding_window(params: Values, tables: Values, group: int) -> MaskMod:
    window = params["window"]
    return lambda b, h, q, kv: (kv <= q) & (q - kv < window)


def a_shape(params: Values, tables: Values, group: int) -> MaskMod:
    window, sinks = params["window"], params["sinkTokens"]
    return lambda b, h, q, kv: (kv <= q) & ((q - kv < window) | (kv < sinks))


def streaming_heads(params: Values, tables: Values, group: int) -> MaskMod:
    dense, recent, sinks = params["retrieval"], params["recent"], params["sinkTokens"]
    return lambda b, h, q, kv: (kv <= q) & ((dense[h] == 1) | (q - kv < recent) | (kv < sinks))


def document(params: Values, tables: Values, group: int) -> MaskMod:
    ids = tables["docId"]
    return lambda b, h, q, kv: (kv <= q) & (ids[q] == ids[kv])


def document_starts(params: Values, tables: Values, group: int) -> MaskMod:
    starts = tables["docStart"]
    return lambda b, h, q, kv: (kv <= q) & (kv >= starts[q])


def fixed(params: Values, tables: Values, group: int) -> MaskMod:
    stride, summary, groups = params["stride"], params["summary"], params["groups"]

    def mask(b: Any, h: Any, q: Any, kv: Any) -> Any:
        end = stride - (h % groups) * summary
        column = kv % stride
        return (kv <= q) & ((q // stride == kv // stride) | ((column >= end - summary) & (column < end)))

    return mask


def power(params: Values, tables: Values, group: int) -> MaskMod:
    block, window, sinks = params["block"], params["window"], params["sinkTokens"]

    def mask(b: Any, h: Any, q: Any, kv: Any) -> Any:
        distance = q // block - kv // block
        # Zero and every power of two have no bit in common with their predecessor.
        near = (distance >= 0) & ((distance & (distance - 1)) == 0)
        return (kv <= q) & (near | (q - kv < window) | (kv < sinks))

    return mask


def s2_shard(params: Values, tables: Values, group: int) -> MaskMod:
    """For 32 query heads and a stride of at most 63: the shift from kv head to kv head is then 1; no dense heads."""
    block, local, stride, offset = (params[name] for name in ("block", "local", "stride", "offset"))
    shift = params["spread"]

    def mask(b: Any, h: Any, q: Any, kv: Any) -> Any:
        kv_block = kv // block
        shard = (kv_block + (h // group) * shift + offset) % stride == 0
        return (kv <= q) & ((kv_block > q // block - local) | shard)

    return mask


def strided(params: Values, tables: Values, group: int) -> MaskMod:
    stride = params["stride"]
    return lambda b, h, q, kv: (kv <= q) & ((q - kv < stride) | ((q - kv) % stride == 0))


def dilated_window(params: Values, tables: Values, group: int) -> MaskMod:
    window, dilation = params["window"], params["dilation"]
    return lambda b, h, q, kv: (kv <= q) & (q - kv < window * dilation) & ((q - kv) % dilation == 0)


MASKS: Mapping[str, Callable[[Values, Values, int], MaskMod]] = {
    "causal": causal,
    "full": full,
    "sliding-window": sliding_window,
    "a-shape": a_shape,
    "streaming-heads": streaming_heads,
    "document": document,
    "document-starts": document_starts,
    "fixed": fixed,
    "power": power,
    "s2-shard": s2_shard,
    "strided": strided,
    "dilated-window": dilated_window,
}

# Those that differ between heads: their block masks have one entry a head.
PER_HEAD = frozenset({"streaming-heads", "s2-shard"})
