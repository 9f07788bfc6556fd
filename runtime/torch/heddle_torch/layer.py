"""One attention layer of a model: its tensors, its mask and its profile in; its output, by patterns or dense, out."""

from __future__ import annotations

import warnings
from typing import Any, Mapping, Optional, Set, Tuple

import torch

from .api import attention
from .dense import dense
from .errors import HeddleError
from .gpu import gpu
from .ops import Pattern
from .ops import pattern as find
from .padding import is_lengths, rows_of
from .plan import DTYPES
from .profile import DENSE, Layer, Run
from .values import reads_lengths

# Why a layer that has a pattern runs dense, in words: each is said once for a name.
DENSE_BECAUSE = {
    "undefined": "this layer, or some of its heads, have no pattern: give one in config.sparse_attention, or 'dense' to mean it",
    "not-causal": "the layer is not causal, as in an encoder or a cross attention",
    "sliding": "the layer has a sliding window of its own",
    "mask": "its mask is more than causal and padding at the ends (packed or image tokens, holes, a mask of the caller's)",
    "device": "its tensors are on no CUDA device",
    "dtype": "its tensors are neither bfloat16 nor float16",
    "dims": "the artefact has no kernel for its head dim and dtype: build one with --head-dim and --dtype",
    "grad": "gradients are asked for, and the kernels have no backward pass",
    "dropout": "dropout is asked for",
    "lengths": "the pattern computes with the lengths on the host, and padding or a static cache keep them on the device",
    "program-lengths": "the pattern is a program of several kernels, which needs the lengths of padding or a static cache on the host: "
    "in a compiled or captured model they are on the device alone",
    "program-decode": "the pattern is a program that chooses for the queries of a prompt, and a step has one; 'decode': 'pattern' in "
    "config.sparse_attention runs it all the same, 'dense' says that this is meant",
}

_said: Set[Tuple[str, str]] = set()


@torch.compiler.assume_constant_result
def warn_dense(name: str, why: str) -> bool:
    """Also while a compiler traces: then once for the trace."""
    if (name, why) not in _said:
        _said.add((name, why))
        warnings.warn(f"{name}: dense attention, since {DENSE_BECAUSE[why]}", stacklevel=2)
    return True


def why_dense(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, causal: bool, sliding: Any, dropout: float
) -> Optional[str]:
    """A key of DENSE_BECAUSE for the whole layer, or None."""
    tensors = (q, k, v)
    checks = (
        ("not-causal", not causal),
        ("sliding", sliding is not None),
        ("mask", mask is not None and not is_lengths(mask)),
        ("dropout", dropout > 0),
        ("grad", torch.is_grad_enabled() and any(t.requires_grad for t in tensors)),
        ("device", q.device.type != gpu.kind),
        ("dtype", any(t.dtype not in DTYPES for t in tensors)),
    )
    for why, holds in checks:
        if holds:
            return why
    return None


def attend(
    name: str,
    layer: Layer,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Optional[torch.Tensor],
    *,
    scale: Optional[float] = None,
    dropout: float = 0.0,
    causal: bool = True,
    sliding: Optional[int] = None,
    sinks: Optional[torch.Tensor] = None,
) -> torch.Tensor:
    """[batch, rows, heads, dim] of q [batch, heads, rows, dim] over k and v. `sinks`: a learnt logit a head, which takes
    its share of the softmax and gives nothing."""
    wanted = (layer.decode if q.shape[2] == 1 else layer.prefill) and k.shape[2] >= layer.min_tokens
    why = why_dense(q, k, v, mask, causal, sliding, dropout)
    if why is not None or not wanted:
        if why is not None and wanted:
            warn_dense(name, why)
        if sinks is not None:
            raise HeddleError("dense-sinks", name=name)
        return dense(q, k, v, mask, scale, dropout, causal).transpose(1, 2).contiguous()
    parts = [_run(name, run, q, k, v, mask, scale, sinks, layer.says_decode) for run in layer.runs]
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 2)).contiguous()


def _run(
    name: str,
    run: Run,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Optional[torch.Tensor],
    scale: Optional[float],
    sinks: Optional[torch.Tensor],
    says_decode: bool,
) -> torch.Tensor:
    (first, last), (kv_first, kv_last) = run.heads, run.kv_heads
    params = run.params
    if run.part is not None or (first, last) != (0, q.shape[1]):
        params = _narrowed(run)
        q, k, v = q[:, first:last], k[:, kv_first:kv_last], v[:, kv_first:kv_last]
    p = None if run.pattern in (None, DENSE) else find(run.pattern)
    why = _why_run_dense(name, run, p, q, v, mask, says_decode)
    if p is None or why is not None:
        if why is not None:
            warn_dense(name, why)
        if sinks is not None:
            raise HeddleError("dense-sinks", name=name)
        return dense(q, k, v, mask, scale).transpose(1, 2)
    lengths: Any = None if mask is None else mask.view(-1, 5)
    if p.artifact.is_program and mask is not None:
        rows = rows_of(mask) or []
        lengths = [rows[i : i + 5] for i in range(0, len(rows), 5)]
    if sinks is None:
        return attention(q, k, v, p, scale=scale, lengths=lengths, params=params).transpose(1, 2)
    out, lse = attention(q, k, v, p, scale=scale, lengths=lengths, params=params, return_lse=True)
    share = torch.sigmoid(lse - sinks[first:last].float().view(1, -1, 1))
    return (out.float() * share[..., None]).to(out.dtype).transpose(1, 2)


def _why_run_dense(
    name: str, run: Run, p: Optional[Pattern], q: torch.Tensor, v: torch.Tensor, mask: Any, says_decode: bool
) -> Optional[str]:
    if p is None:
        return "undefined" if run.pattern is None else None
    if p.artifact.rows:
        raise HeddleError("program-rows", name=name, pattern=p.name, rows=p.artifact.row_names)
    if p.artifact.is_program and q.shape[2] == 1 and not says_decode:
        return "program-decode"
    if not p.artifact.runs(DTYPES[q.dtype], q.shape[3], v.shape[3]):
        return "dims"
    if p.artifact.is_program:
        return "program-lengths" if mask is not None and rows_of(mask) is None else None
    return "lengths" if mask is not None and reads_lengths(p.artifact) is not None else None


def _narrowed(run: Run) -> Mapping[str, Any]:
    """Params of a run, its tables cut to its heads along the axes that stand for heads."""
    given = dict(run.params)
    begins = run.part or (0, 0)
    own = {"head": (begins[0] + run.heads[0], run.heads), "kvHead": (begins[1] + run.kv_heads[0], run.kv_heads)}
    tables = () if run.pattern in (None, DENSE) else find(run.pattern).artifact.tables
    for table in tables:
        held = given.get(table["name"])
        for axis, dim in enumerate(table["dims"]):
            if held is not None and dim in own:
                begin, (first, last) = own[dim]
                held = held.narrow(axis, begin, last - first)
        if held is not None:
            given[table["name"]] = held
    return given
