"""Causal attention over random lists of blocks: ours and FlexAttention under the same block mask, in turns; lists.json out.

python3 bench/cuda/lists.py --artifacts out/lists --out bench/results
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "runtime" / "torch"))

import torch  # noqa: E402
from torch.nn.attention.flex_attention import BlockMask, flex_attention  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

import heddle_torch  # noqa: E402
from figures import median, rounded  # noqa: E402
from measure import Contender, rounds  # noqa: E402
from peers import FLEX_OPTIONS  # noqa: E402
from suite import head_of, machine, write_rows  # noqa: E402

HEADS, KV_HEADS, DIM = 32, 8, 128
K = 1024
HEADER = 4
SAMPLED_ROWS = 24
# name, length, query unit, kv unit, how a query unit's blocks are drawn: a share of the causal ones, or so many of them
CASES: Tuple[Tuple[str, int, int, int, float], ...] = (
    ("blocks of 128, 5 %", 128 * K, 128, 128, 0.05),
    ("blocks of 128, 20 %", 128 * K, 128, 128, 0.20),
    ("100 blocks of 64", 32 * K, 64, 64, 100),
    ("100 blocks of 64", 128 * K, 64, 64, 100),
    ("blocks of 64 for 128 rows, 5 %", 128 * K, 128, 64, 0.05),
    ("blocks of 16 for 128 rows, 5 %", 128 * K, 128, 16, 0.05),
)


def chosen_blocks(length: int, q: int, kv: int, amount: float, seed: int) -> torch.Tensor:
    """[heads, query units, kv units] of bool: random blocks at or before the diagonal, that of the query among them."""
    generator = torch.Generator(device="cuda").manual_seed(seed)
    rows, columns = length // q, length // kv
    last = (torch.arange(rows, device="cuda") + 1) * q // kv - 1  # the block of a unit's last query
    made = torch.empty((HEADS, rows, columns), dtype=torch.bool, device="cuda")
    for head in range(HEADS):
        noise = torch.rand((rows, columns), generator=generator, device="cuda")
        noise.masked_fill_(torch.arange(columns, device="cuda")[None, :] > last[:, None], 2.0)
        noise[torch.arange(rows, device="cuda"), last] = -1.0
        wanted = (amount * (last + 1)).ceil() if amount < 1 else torch.minimum(last + 1, torch.tensor(int(amount), device="cuda"))
        most = int(wanted.max())
        order = noise.topk(most, dim=1, largest=False).indices
        keep = torch.arange(most, device="cuda")[None, :] < wanted[:, None]
        made[head] = torch.zeros_like(made[head]).scatter_(1, order, keep)
    return made


def words_of(blocks: torch.Tensor) -> torch.Tensor:
    """The words of a list: header, counts, starts, ids."""
    heads, rows, _ = blocks.shape
    counts = blocks.sum(-1).flatten().int()
    starts = (counts.cumsum(0) - counts).int()
    ids = blocks.nonzero()[:, 2].int()
    header = torch.tensor([rows, 0, 0, 0], dtype=torch.int32, device="cuda")
    assert len(header) == HEADER
    return torch.cat((header, counts, starts, ids))


def block_mask_of(blocks: torch.Tensor, q: int, kv: int, length: int) -> BlockMask:
    rows, columns = blocks.shape[1:]
    diagonal = torch.arange(columns, device="cuda")[None, :] * kv + kv > torch.arange(rows, device="cuda")[:, None] * q
    parts = []
    for some in (blocks & diagonal, blocks & ~diagonal):
        order = some.int().argsort(dim=-1, descending=True, stable=True).int()
        parts += [some.sum(-1).int()[None].contiguous(), order[None].contiguous()]
    return BlockMask.from_kv_blocks(*parts, BLOCK_SIZE=(q, kv), mask_mod=lambda b, h, i, j: i >= j, seq_lengths=(length, length))


def worst_error(out: torch.Tensor, tensors: Tuple[torch.Tensor, ...], blocks: torch.Tensor, q: int, kv: int) -> float:
    """Against f64 over the same set, of some rows; beside what plain attention of the same precision would do it is small."""
    Q, Kt, V = tensors
    length = Q.shape[2]
    worst = 0.0
    for i in range(SAMPLED_ROWS):
        row, head = (i * 7919 + 1) * 104729 % length, i * 5 % HEADS
        keys = blocks[head, row // q].nonzero().flatten()[:, None] * kv + torch.arange(kv, device="cuda")[None, :]
        keys = keys.flatten()
        keys = keys[keys <= row]
        k, v = (t[0, head // (HEADS // KV_HEADS), keys].double() for t in (Kt, V))
        weights = (k @ Q[0, head, row].double() / math.sqrt(DIM)).softmax(0)
        worst = max(worst, float((weights @ v - out[0, head, row].double()).abs().max()))
    return worst


def pairs_of(blocks: torch.Tensor, q: int, kv: int) -> int:
    rows, columns = blocks.shape[1:]
    first_row = torch.arange(rows, device="cuda")[:, None] * q
    first_key = torch.arange(columns, device="cuda")[None, :] * kv
    kept = torch.zeros((rows, columns), dtype=torch.int64, device="cuda")
    for r in range(q):
        kept += (first_row + r - first_key + 1).clamp(0, kv)
    return int((blocks.long().sum(0) * kept).sum())


def run(artifacts: Path, name: str, length: int, q: int, kv: int, amount: float, seconds: float) -> List[Dict[str, Any]]:
    torch.cuda.empty_cache()
    tensors = tuple(torch.randn(1, h, length, DIM, device="cuda", dtype=torch.bfloat16) for h in (HEADS, KV_HEADS, KV_HEADS))
    blocks = chosen_blocks(length, q, kv, amount, 1)
    words, pairs = words_of(blocks), pairs_of(blocks, q, kv)
    visited = int(blocks.sum()) * q * kv
    pattern = heddle_torch.load(artifacts / f"{q}x{kv}" / "causal.cuda.json")
    out = heddle_torch.attention(*tensors, pattern, lists=words)
    error = worst_error(out, tensors, blocks, q, kv)
    assert error < 0.02, f"{name}: error {error}"
    ours = Contender("ours", lambda _: heddle_torch.attention(*tensors, pattern, lists=words), 1)
    dense = Contender("cuDNN, dense", lambda _: scaled_dot_product_attention(*tensors, is_causal=True, enable_gqa=True), 1)
    flexes: List[Contender] = []
    if kv >= 64:
        mask = block_mask_of(blocks, q, kv, length)
        compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
        settings = FLEX_OPTIONS if q >= 128 and kv >= 128 else {"64x64": {"BLOCK_M": 64, "BLOCK_N": 64}, "64x64, USE_TMA": {"BLOCK_M": 64, "BLOCK_N": 64, "USE_TMA": True}}
        for option, kernel_options in settings.items():

            def call(_: int, given: Dict[str, Any] = kernel_options) -> torch.Tensor:
                return compiled(*tensors, block_mask=mask, enable_gqa=True, kernel_options=dict(given))

            try:
                peer = Contender(f"FlexAttention ({option})", call, 1)
                peer.run(1)
                torch.cuda.synchronize()
                flexes.append(peer)
            except Exception as problem:  # noqa: BLE001: a setting that does not compile is a peer less
                print(f"    FlexAttention ({option}): {str(problem).splitlines()[0][:120]}", flush=True)
    del blocks
    rounds([ours, *flexes, dense], seconds)
    flops = 4 * DIM * pairs
    best: Optional[Contender] = min(flexes, key=lambda c: median(c.times), default=None)
    mine = {"ms": median(ours.times), "tflops": flops / median(ours.times) / 1e9}
    rows = []
    for peer in [*([best] if best else []), dense]:
        ms = median(peer.times)
        dense_flops = 2 * DIM * HEADS * length * (length + 1)
        row = {
            "case": f"{name}, N {length // K}k",
            "target": "cuda d128-bf16-lists",
            "ours": mine,
            "peer": {"name": peer.name, "ms": ms, "tflops": (dense_flops if peer is dense else flops) / ms / 1e9},
            "ratio": ms / mine["ms"],
            "more": {"TFLOP/s on visited tiles": 4 * DIM * visited / mine["ms"] / 1e9, "error": error},
        }
        rows.append(rounded(row))
        print(f"{row['case']:44} {mine['ms']:8.3f} ms {mine['tflops']:6.0f} TFLOP/s (visited {row['more']['TFLOP/s on visited tiles']:.0f}) | {peer.name:34} {ms:8.3f} ms | {row['ratio']:.3f}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    rows: List[Dict[str, Any]] = []
    for name, length, q, kv, amount in CASES:
        if given.only in f"{name}, N {length // K}k":
            rows += run(given.artifacts, name, length, q, kv, amount, given.seconds)
    command = "python3 bench/cuda/lists.py --artifacts out/lists --out bench/results"
    versions = {"torch": torch.__version__, "CUDA": torch.version.cuda}
    write_rows(given.out, head_of("lists", command, versions, machine()), rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
