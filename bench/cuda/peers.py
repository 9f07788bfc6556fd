"""A case and its inputs in; the peers' contenders out: cuDNN and FlashAttention-2 through PyTorch's SDPA, and FlexAttention."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from cases import Case, Ours
from inputs import DEVICE, Inputs, mask_values
from masks import MASKS, PER_HEAD, MaskMod
from measure import Contender, once

SDPA: Mapping[str, SDPBackend] = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "FlashAttention-2": SDPBackend.FLASH_ATTENTION,
}

# What FlexAttention is tried with; the fastest is the peer.
FLEX_OPTIONS: Mapping[str, Dict[str, Any]] = {
    "default": {},
    "USE_TMA": {"USE_TMA": True},
    "128x128, 8 warps": {"BLOCK_M": 128, "BLOCK_N": 128, "num_warps": 8},
    "128x64, 8 warps": {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8},
}
EAGER_LENGTH = 32768
MASK_RUNS = 5
SLOW_MASK_MS = 300.0


def sdpa(name: str, case: Case, sets: Sequence[Inputs]) -> Contender:
    """Of the dense patterns alone: causal, full, and one query that sees every key."""
    is_causal = case.ours[0].pattern == "causal" and not case.decodes

    def call(i: int) -> torch.Tensor:
        x = sets[i]
        return scaled_dot_product_attention(x.q, x.k, x.v, is_causal=is_causal, enable_gqa=True)

    return Contender(name, call, len(sets), lambda: sdpa_kernel([SDPA[name]]), graphed=case.decodes)


def repeated(case: Case, sets: Sequence[Inputs]) -> List[Inputs]:
    """Keys and values once a query head: for a backend that knows no groups."""
    return [
        Inputs(x.q, x.k.repeat_interleave(case.group, 1), x.v.repeat_interleave(case.group, 1)) for x in sets
    ]


def mask_mod_of(case: Case, ours: Ours) -> MaskMod:
    return MASKS[ours.pattern](*mask_values(ours), case.group)


def block_mask_call(case: Case, ours: Ours, make: Callable[..., BlockMask]) -> Callable[[], BlockMask]:
    mask_mod = mask_mod_of(case, ours)
    heads = case.q_heads if ours.pattern in PER_HEAD else None
    return lambda: make(mask_mod, None, heads, case.q_len, case.kv_len, device=DEVICE)


def compiled_block_mask(case: Case) -> Callable[[], BlockMask]:
    return block_mask_call(case, case.ours[0], torch.compile(create_block_mask, dynamic=False))


def prepare_flex(case: Case, timed: bool) -> Tuple[BlockMask, Dict[str, float]]:
    """The block mask, and how long its making takes: compiled, after the compilation, and as it is."""
    build = compiled_block_mask(case)
    mask = build()
    if not timed:
        return mask, {}
    first = once(build)
    more = MASK_RUNS if first < SLOW_MASK_MS else 1
    preparation = {"block mask": min(first, *(once(build) for _ in range(more)))}
    # Not compiled it makes the mask of every pair, in 64-bit integers: beyond this length that is more than the memory.
    if case.kv_len <= EAGER_LENGTH:
        eager = block_mask_call(case, case.ours[0], create_block_mask)
        try:
            preparation["block mask, not compiled"] = min(once(eager) for _ in range(2))
        except torch.cuda.OutOfMemoryError:
            print("    create_block_mask, not compiled: out of memory", flush=True)
        torch.cuda.empty_cache()
    return mask, preparation


def flex(case: Case, sets: Sequence[Inputs], mask: BlockMask, options: Dict[str, Any], name: str) -> Contender:
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)

    def call(i: int) -> torch.Tensor:
        x = sets[i]
        return compiled(x.q, x.k, x.v, block_mask=mask, enable_gqa=True, kernel_options=dict(options))

    return Contender(f"FlexAttention ({name})", call, len(sets))
