"""Nothing in; the GPU's two ceilings out, measured in the same run: bf16 products in TFLOP/s and copies in TB/s."""

from __future__ import annotations

from typing import Dict

import torch

from figures import median
from measure import Contender, rounds

SIDE = 8192
COPIED = 2 << 30


def measure() -> Dict[str, float]:
    a, b = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    product = Contender("product", lambda i: torch.mm(a, b, out=out), 1)
    source = torch.randint(0, 256, (COPIED,), device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = Contender("copy", lambda i: target.copy_(source), 1)
    rounds([product, copy], 1.0)
    return {
        "tflops": float(f"{2 * SIDE**3 / median(product.times) / 1e9:.4g}"),
        "tbps": float(f"{2 * COPIED / median(copy.times) / 1e9:.4g}"),
    }
