"""`python -m heddle_torch.hostcost MANIFEST`: microseconds of the host's time that a call takes, beside torch's own attention."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Callable, Dict

import torch

from .api import attention
from .ops import Pattern, load
from .state import State

CALLS = 300


def per_call(f: Callable[[], Any]) -> float:
    """The median over stretches of calls too short to fill the device's queue."""
    for _ in range(20):
        f()
    times = []
    for _ in range(9):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(CALLS):
            f()
        times.append((time.perf_counter() - start) / CALLS * 1e6)
        torch.cuda.synchronize()
    return sorted(times)[len(times) // 2]


def measure(pattern: Pattern, rows: int = 64, dim: int = 64) -> Dict[str, float]:
    """Tensors so small that the device keeps up: what is left is the host."""
    q = torch.randn(1, 4, rows, dim, device="cuda", dtype=torch.bfloat16)
    k = torch.randn(1, 2, rows, dim, device="cuda", dtype=torch.bfloat16)
    one = q[:, :, :1].contiguous()
    calls: Dict[str, Callable[[], Any]] = {
        "prefill": lambda: attention(q, k, k, pattern),
        "decode": lambda: attention(one, k, k, pattern),
        "the op alone": lambda: pattern.op(q, k, k),
    }
    if not pattern.artifact.is_program:
        state = State.like(pattern, q, k)
        calls["prefill, state"] = lambda: attention(q, k, k, pattern, state=state)
    with torch.no_grad():
        return {name: per_call(call) for name, call in calls.items()}


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    pattern = load(sys.argv[1])
    costs = measure(pattern)
    q = torch.randn(1, 4, 64, 64, device="cuda", dtype=torch.bfloat16)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    costs["torch's scaled_dot_product_attention"] = per_call(lambda: sdpa(q, q, q, is_causal=True))
    print(json.dumps({"pattern": pattern.name, "us": {k: round(v, 2) for k, v in costs.items()}}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
