"""Outputs and masks in; how far they are from the definition, over sampled rows in f32, and whether a mask is the pattern's."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import torch

from cases import Case, Ours
from inputs import DEVICE, Inputs
from peers import mask_mod_of

# bf16 outputs of bf16 inputs lie within half of this; a wrong tile is far outside.
MOST_ERROR = 1e-2
ROWS = 24


def mask_differs(case: Case, ours: Ours) -> Optional[str]:
    """In every sampled row the mask_mod must keep as many keys as the pattern, and keys of the same sum."""
    mask_mod = mask_mod_of(case, ours)
    start = case.kv_len - case.q_len
    for sample in ours.counts.samples:
        kept = _kept(mask_mod, case, sample["head"], [start + row for row in sample["rows"]])
        keys = torch.arange(case.kv_len, device=DEVICE)
        counts, sums = kept.sum(1).tolist(), (kept * keys).sum(1).tolist()
        for row, *got in zip(sample["rows"], counts, sums):
            i = sample["rows"].index(row)
            expected = [sample["kept"][i], sample["sums"][i]]
            if got != expected:
                return f"head {sample['head']}, row {row}: keeps {got} (keys, their sum), the pattern {expected}"
    return None


def _kept(mask_mod: Any, case: Case, head: int, positions: Sequence[int]) -> torch.Tensor:
    q = torch.tensor(positions, device=DEVICE)[:, None]
    kv = torch.arange(case.kv_len, device=DEVICE)[None]
    head_index = torch.tensor(head, device=DEVICE)
    return mask_mod(0, head_index, q, kv).expand(len(positions), case.kv_len)


class Reference:
    """Attention of sampled rows of one input set, in f32 with the mask_mod: what every contender is compared with once."""

    def __init__(self, case: Case, ours: Ours, x: Inputs) -> None:
        self.rows = self._rows(case.q_len)
        self.batch = case.batch - 1
        mask_mod = mask_mod_of(case, ours)
        start = case.kv_len - case.q_len
        positions = [start + row for row in self.rows]
        q = x.q[self.batch][:, self.rows].float()
        self.out = torch.empty_like(q)
        for head in range(case.q_heads):
            k, v = (t[self.batch, head // case.group].float() for t in (x.k, x.v))
            scores = (q[head] @ k.T) * case.head_dim**-0.5
            scores.masked_fill_(~_kept(mask_mod, case, head, positions), float("-inf"))
            self.out[head] = torch.softmax(scores, -1) @ v

    @staticmethod
    def _rows(q_len: int) -> list[int]:
        last = q_len - 1
        spaced = [round(last * i / (ROWS - 1)) for i in range(ROWS)]
        return sorted({*spaced, *(r for r in (1, 63, 127, 128) if r <= last)})

    def error(self, out: torch.Tensor) -> float:
        """Norm of the difference over the norm; not a number if the output holds one."""
        got = out[self.batch][:, self.rows].float()
        return ((got - self.out).norm() / self.out.norm()).item()


def is_right(error: float) -> bool:
    # Not a number compares false.
    return error <= MOST_ERROR
