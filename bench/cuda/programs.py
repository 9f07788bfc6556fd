"""Programs that choose by the data, the whole of each call, beside dense attention of cuDNN, in turns; programs.json out.

python3 bench/cuda/programs.py --artifacts out/programs --out bench/results

The artefacts are those of `heddle build patterns/*.ts --target cuda --arch sm_90a --dtype bf16 --head-dim 128 --out out/programs`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "runtime" / "torch"))

import torch  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

import heddle_torch  # noqa: E402
from figures import median, rounded  # noqa: E402
from measure import Contender, rounds  # noqa: E402
from suite import head_of, machine, write_rows  # noqa: E402

HEADS, KV_HEADS, DIM = 32, 8, 128
K = 1024


class Case(NamedTuple):
    pattern: str
    about: str
    params: Dict[str, float]
    length: int


# On random data a distance keeps 127 keys of a block of queries, and a share of the mass of pooled blocks is that share of them.
CASES: Tuple[Case, ...] = (
    Case("minference-vertical-slash", "1000 keys, 280 distances", {"vertical": 1000, "slash": 280}, 128 * K),
    Case("minference-block", "100 blocks", {"k": 100}, 128 * K),
    Case("xattention", "mass 0.1", {"mass": 0.1}, 128 * K),
    Case("pbs", "mass 0.1", {"mass": 0.1}, 32 * K),
    Case("pbs", "mass 0.3", {"mass": 0.3}, 32 * K),
)


def run(artifacts: Path, case: Case, seconds: float) -> Dict[str, Any]:
    torch.cuda.empty_cache()
    torch.manual_seed(1)
    tensors = tuple(torch.randn(1, h, case.length, DIM, device="cuda", dtype=torch.bfloat16) for h in (HEADS, KV_HEADS, KV_HEADS))
    pattern = heddle_torch.load(artifacts / f"{case.pattern}.cuda.json")
    ours = Contender("ours", lambda _: heddle_torch.attention(*tensors, pattern, params=case.params), 1)
    dense = Contender(
        "cuDNN, dense",
        lambda _: scaled_dot_product_attention(*tensors, is_causal=True, enable_gqa=True),
        1,
        within=lambda: sdpa_kernel(SDPBackend.CUDNN_ATTENTION),
    )
    rounds([ours, dense], seconds)
    mine, peer = median(ours.times), median(dense.times)
    row = {
        "case": f"{case.pattern}, {case.about}, N {case.length // K}k",
        "target": "cuda d128-bf16",
        "ours": {"ms": mine},
        "peer": {"name": dense.name, "ms": peer},
        "ratio": peer / mine,
    }
    print(f"{row['case']:60} {mine:8.3f} ms | {dense.name} {peer:8.3f} ms | {peer / mine:.3f}", flush=True)
    return rounded(row)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True, help="folder of <pattern>.cuda.json and cubins")
    parser.add_argument("--out", type=Path, required=True, help="folder for programs.json")
    parser.add_argument("--only", default="", help="a word in the case's name")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each case")
    given = parser.parse_args()
    rows: List[Dict[str, Any]] = [run(given.artifacts, case, given.seconds) for case in CASES if given.only in f"{case.pattern}, {case.about}"]
    command = "python3 bench/cuda/programs.py --artifacts out/programs --out bench/results"
    versions = {"torch": torch.__version__, "CUDA": torch.version.cuda, "cuDNN": str(torch.backends.cudnn.version())}
    write_rows(given.out, head_of("programs", command, versions, machine()), rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
