"""Plain attention by torch, where a layer's pattern is not to be used or cannot be: the same tensors in, its output out."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch.nn.functional import scaled_dot_product_attention

from .padding import dense_mask, is_lengths


def dense(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Optional[torch.Tensor],
    scale: Optional[float],
    dropout: float = 0.0,
    causal: bool = True,
    **_: Any,
) -> torch.Tensor:
    """`mask`: lengths, a mask as torch takes it, or None: causal with the last query at the last key, or all where not causal."""
    rows, keys = q.shape[2], k.shape[2]
    if is_lengths(mask):
        mask = dense_mask(mask, rows, keys)
    elif mask is None and causal and 1 < rows != keys:
        mask = torch.ones(rows, keys, dtype=torch.bool, device=q.device).tril(keys - rows)
    group = q.shape[1] // k.shape[1]
    if rows == 1 and group > 1 and (mask is None or mask.shape[1] == 1):
        # The queries of a group as rows over its keys: nothing is repeated, however long the cache.
        folded = q.reshape(q.shape[0], k.shape[1], group, q.shape[3])
        out = scaled_dot_product_attention(folded, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
        return out.reshape(*q.shape[:3], v.shape[3])
    if group > 1:
        k, v = (t.repeat_interleave(group, 1) for t in (k, v))
    return scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale, is_causal=causal and rows > 1 and mask is None
    )
