"""Where the numerics run (a GPU, or the emulation where HEDDLE_EMULATED is set) and what they are compared with."""

from __future__ import annotations

import math
import os
import sys
import unittest
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from cases import read_cases  # noqa: E402

import heddle_torch as ht  # noqa: E402
from heddle_torch.plan import table_shape as table_shape  # noqa: E402

if os.environ.get("HEDDLE_EMULATED"):
    import emulated

    emulated.use()
    DEVICE = "cpu"
elif torch.cuda.is_available():
    DEVICE = "cuda"
else:
    raise unittest.SkipTest("there is no CUDA device")

FOLDER = Path(os.environ.get("HEDDLE_CASES", Path(__file__).resolve().parents[3] / "out/torch-cases"))
CASES = list(read_cases(FOLDER))
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
UNIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


def load(name):
    return ht.load(FOLDER / f"{name}.json")


def device(x, dtype=None):
    return torch.from_numpy(x.copy()).to(DEVICE, dtype)


def attend(q, k, v, mask, scale, dtype=torch.float64):
    """Plain attention under a mask in f64, or as 16-bit matrix units do it: f32 sums, weights rounded."""
    group = q.shape[1] // k.shape[1]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    k, v = (t.to(wide).repeat_interleave(group, 1) for t in (k, v))
    s = (q.to(wide) @ k.mT * scale).masked_fill(~mask, -math.inf)
    top = s.amax(-1, keepdim=True).clamp(min=-1e30)
    p = torch.exp(s - top)
    total = p.sum(-1, keepdim=True)
    lse = torch.where(total > 0, top + total.log(), -math.inf)[..., 0]
    out = (p.to(dtype).to(wide) @ v) / torch.where(total > 0, total, 1)
    return out.to(dtype).double(), lse.double()


def compare(got, want, allowed, what):
    """Infinities agree exactly, and numbers to within what is allowed."""
    got = got.double()
    same = got.isneginf() == want.isneginf()
    error = torch.where(want.isfinite(), (got - want).abs(), 0.0)
    assert same.all() and not got.isnan().any(), f"{what}: empty rows differ"
    worst = error.max().item() if error.numel() else 0.0
    assert worst <= allowed, f"{what}: error {worst:.3e}, allowed {allowed:.3e}"
