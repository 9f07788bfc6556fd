"""A case in; as many sets of random queries, keys and values out as it takes to keep them out of the L2 cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List

import torch

from cases import Case, Ours, expand

DEVICE = "cuda"
# Several times the cache of the largest GPU meant.
PAST_CACHE = 256 << 20
MOST_SETS = 64
MOST_BYTES = 24 << 30


@dataclass(frozen=True)
class Inputs:
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor


def one_set(case: Case, generator: torch.Generator) -> Inputs:
    def draw(heads: int, rows: int) -> torch.Tensor:
        shape = (case.batch, heads, rows, case.head_dim)
        return torch.randn(shape, generator=generator, device=DEVICE, dtype=torch.bfloat16)

    q = draw(case.q_heads, case.q_len)
    return Inputs(q, draw(case.kv_heads, case.kv_len), draw(case.kv_heads, case.kv_len))


def sets_of(case: Case) -> List[Inputs]:
    """At least two; more where a call touches so little that the next one would find it in the cache."""
    touched = min(case.bytes(ours) for ours in case.ours)
    held = 2 * case.head_dim * case.batch * (case.q_heads * case.q_len + 2 * case.kv_heads * case.kv_len)
    wanted = 1 + math.ceil(PAST_CACHE / touched)
    count = max(2, min(wanted, MOST_SETS, MOST_BYTES // held))
    generator = torch.Generator(DEVICE).manual_seed(7)
    return [one_set(case, generator) for _ in range(count)]


def tables_of(ours: Ours) -> Dict[str, torch.Tensor]:
    """With one batch entry."""
    made = {name: torch.tensor(expand(runs), dtype=torch.int32, device=DEVICE) for name, runs in ours.tables.items()}
    return {name: values[None] for name, values in made.items()}


def mask_values(ours: Ours) -> tuple[Dict[str, Any], Dict[str, torch.Tensor]]:
    """Params and tables as a mask_mod reads them: a list becomes a tensor, a table loses its batch axis."""
    params = {
        name: torch.tensor(value, dtype=torch.int32, device=DEVICE) if isinstance(value, list) else value
        for name, value in ours.params.items()
    }
    return params, {name: table[0] for name, table in tables_of(ours).items()}
