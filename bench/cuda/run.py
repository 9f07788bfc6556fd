"""Built artefacts and exact counts in; cuda.json out: every case of the suite, ours and its peers in turns, in one run.

python3 bench/cuda/run.py --artifacts out/cuda --counts out/cuda-counts.json --out bench/results
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import time
from pathlib import Path
from typing import Dict, List, Sequence

import ahead
from cases import Case, read_cases
from figures import Measured, Row, Timed, rows_of

ROOT = Path(__file__).resolve().parents[2]
# What the rounds of one case may take, and what must be left of the run to begin another.
CASE_SECONDS = 4.0
LEAST_LEFT = 30.0
AHEAD_SECONDS = 110.0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True, help="folder of <pattern>.cuda.json and cubins")
    parser.add_argument("--counts", type=Path, required=True, help="what prepare.ts wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for cuda.json")
    parser.add_argument("--only", default="", help="a regular expression: cases whose name holds it")
    parser.add_argument("--peers", default="", help="a regular expression: peers whose name holds it; '^$' for none")
    parser.add_argument("--minutes", type=float, default=8.7, help="what the whole run may take")
    return parser.parse_args()


def main() -> int:
    began = time.monotonic()
    given = options()
    ahead.cache_environment()
    cases, versions = read_cases(given.counts)
    chosen = [i for i, case in enumerate(cases) if re.search(given.only, case.name)]
    wanted = [i for i in chosen if "FlexAttention" in _peers(cases[i], given.peers)]
    if wanted:
        ahead.compile_ahead(given.counts, wanted, AHEAD_SECONDS)
    sys.path.insert(0, str(ROOT / "runtime" / "torch"))

    import torch

    import roofs
    from suite import Suite, machine

    torch._dynamo.config.recompile_limit = 64
    suite = Suite(given.out, {**versions, **_versions()}, machine())
    suite.roofs = roofs.measure()
    print(f"ceilings: {suite.roofs}", flush=True)
    known: Dict[str, Measured] = {}
    failures: List[str] = []
    for i in chosen:
        left = 60 * given.minutes - (time.monotonic() - began)
        case = cases[i]
        if left < LEAST_LEFT:
            failures.append(f"{case.name}: left out, the time is up")
            continue
        print(f"{time.monotonic() - began:5.0f} s  {case.name}", flush=True)
        try:
            suite.add(_run(case, _peers(case, given.peers), given.artifacts, known, failures))
        except Exception as error:  # noqa: BLE001: one case must not take the others with it
            failures.append(f"{case.name}: {type(error).__name__}: {str(error)[:600]}")
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()
    _print(suite.rows)
    for failure in failures:
        print(f"FAILED {failure}", flush=True)
    print(f"{suite.file}: {len(suite.rows)} rows, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failures else 0


def _peers(case: Case, expression: str) -> List[str]:
    return [peer for peer in case.peers if re.search(expression, peer)]


def _run(
    case: Case, peers: Sequence[str], artifacts: Path, known: Dict[str, Measured], failures: List[str]
) -> List[Row]:
    from contest import Contest

    contest = Contest(case, artifacts)
    for ours in case.ours:
        contest.enter_ours(ours)
    for peer in peers:
        contest.enter_peer(peer)
    contest.time(CASE_SECONDS)
    failures.extend(f"{case.name}: {what}" for what in contest.refused)
    rows: List[Row] = []
    timed_peers: List[Timed] = contest.timed_peers()
    for mine in contest.measured():
        known.setdefault(case.name, mine)
        rows += rows_of(mine, timed_peers, known)
    for row in rows:
        if contest.notes and "FlexAttention" in row.get("peer", {}).get("name", ""):
            row["note"] = "; ".join([*([row["note"]] if "note" in row else []), *contest.notes])
    return rows


def _versions() -> Dict[str, str]:
    import torch
    import triton

    cudnn = torch.backends.cudnn.version() or 0
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda or "none",
        "cudnn": f"{cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}",
    }


def _print(rows: Sequence[Row]) -> None:
    for row in rows:
        ours, peer = row["ours"], row.get("peer") or {}
        print(
            f"{row['case']:44} {row['target']:26} {ours['ms']:9} ms {ours['tflops']:6} TFLOP/s "
            f"on tiles {row['more'].get('TFLOP/s on visited tiles', '-'):>6} | {peer.get('name', '-'):34} "
            f"{peer.get('ms', '-'):>9} {peer.get('tflops', '-'):>6} | {row.get('ratio', '-'):>6} "
            f"{'' if row.get('ok') is None else 'ok' if row['ok'] else 'MISSED'}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
