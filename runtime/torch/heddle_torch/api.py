"""`attention`: tensors shaped as for torch's scaled_dot_product_attention and a pattern in, its output (and LSE) out."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple, Union

import torch

from . import eager
from .errors import HeddleError
from .gpu import gpu
from .ops import Pattern, check_no_grad
from .ops import pattern as find
from .plan import check_axes
from .state import State
from .values import resolve_lengths


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pattern: Union[Pattern, str],
    *,
    scale: Optional[float] = None,
    return_lse: bool = False,
    lengths: Any = None,
    pages: Optional[torch.Tensor] = None,
    lists: Optional[torch.Tensor] = None,
    state: Optional[State] = None,
    variant: Optional[str] = None,
    params: Optional[Mapping[str, Any]] = None,
    **named: Any,
) -> Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]:
    """Attention of q [batch, heads, rows, dim] over k and v [batch, kv heads, rows, dim] under a pattern.

    Params and tables of the pattern are keywords; `params` takes those whose names are taken by an argument here.
    scale: factor of q . k, by default dim ** -0.5.
    return_lse: the log of the softmax's denominator too, f32 [batch, heads, rows].
    lengths: which rows are real, one record {qRow, qStart, qLen, kvStart, kvLen} (all optional) a batch entry, or an int32
        CUDA tensor [batch, 5] of them in that order.
    pages: int32 CUDA tensor [batch, pages of a row]; then k and v are pools [pages, kv heads, tokens of a page, dim].
    lists: of an artefact over lists their words, an int32 CUDA tensor: four header words, of which the first is the number of
        records of a sharer, then counts, starts and ids.
    state: params and lengths held on the device, for CUDA graphs.
    variant: this one of the artefact's kernels, by id.
    """
    p = pattern if isinstance(pattern, Pattern) else find(pattern)
    direct = eager.unwatched() and eager.plain((q, k, v))
    if not direct or lengths is not None:
        check_given(q, k, v)  # of other calls this is seen when they are planned
    check_no_grad(q, k, v)
    if params is not None:
        named.update(params)
    length_list: Optional[List[int]] = None
    length_rows: Optional[torch.Tensor] = None
    values: Optional[torch.Tensor] = None
    if state is not None:
        if named or lengths is not None:
            state.check_names(p, named, lengths is not None)
        sizes = (p, q.shape, k.shape, None if pages is None else pages.shape)
        if not direct or sizes != state.fits:
            check_given(q, k, v)
            state.check_sizes(p, q, k, pages)
            if direct:
                state.fits = sizes
        values, length_rows = state.values, state.lengths
    elif isinstance(lengths, torch.Tensor) and lengths.device.type == gpu.kind:
        length_rows = lengths
    elif lengths is not None:
        kv_rows = k.shape[2] if pages is None else k.shape[2] * pages.shape[1]
        length_list = resolve_lengths(lengths, q.shape[0], q.shape[2], kv_rows)
    bound = p.bind(named)
    rest = (*bound, scale, length_list, length_rows, values, pages, lists, variant)
    if direct and (scale is None or type(scale) is float) and (variant is None or type(variant) is str):
        others = [t for t in (length_rows, values, pages, lists, *bound[: len(p.tables)]) if t is not None]
        if not others or eager.plain(others):
            out, lse = p.runner.run(q, k, v, rest)
            return (out, lse) if return_lse else out
    out, lse = p.op(q, k, v, *rest)
    return (out, lse) if return_lse else out


def check_given(q: Any, k: Any, v: Any) -> None:
    for name, t in (("q", q), ("k", k), ("v", v)):
        if not isinstance(t, torch.Tensor):
            raise HeddleError("tensor", tensor=name, got=type(t).__name__)
        if t.device.type != gpu.kind:
            raise HeddleError("device", tensor=name, got=t.device)
        check_axes(name, t)
