"""The numbers of cases in; nothing out but full caches: what FlexAttention compiles for them, in processes of its own.

Compiling one case after another would take most of the run. Each process fills the caches of Inductor and Triton on disk, and
the run finds them there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Sequence

HERE = Path(__file__).resolve().parent


def cache_environment() -> None:
    """Must come before torch is imported; one folder for the run and its helpers."""
    folder = os.environ.setdefault("HEDDLE_BENCH_CACHE", tempfile.mkdtemp(prefix="heddle-bench-"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{folder}/inductor")
    os.environ.setdefault("TRITON_CACHE_DIR", f"{folder}/triton")
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "1")


def compile_ahead(counts: Path, cases: Sequence[int], seconds: float) -> None:
    """One process a case, all at once; those that are not done in time are ended, and the run compiles for itself."""
    began = time.monotonic()
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    jobs: List[subprocess.Popen[bytes]] = [
        subprocess.Popen([sys.executable, str(HERE / "ahead.py"), str(counts), str(i)], env=environment) for i in cases
    ]
    late = 0
    for job in jobs:
        try:
            job.wait(max(0.1, seconds - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()
            late += 1
    failed = sum(job.returncode != 0 for job in jobs) - late
    took = time.monotonic() - began
    print(f"compiled ahead for {len(jobs)} cases in {took:.0f} s ({late} late, {failed} failed)", flush=True)


def _compile(counts: Path, index: int) -> None:
    import torch

    from cases import read_cases
    from inputs import DEVICE, one_set
    from peers import FLEX_OPTIONS, flex, prepare_flex

    torch._dynamo.config.recompile_limit = 64
    case = read_cases(counts)[0][index]
    sets = [one_set(case, torch.Generator(DEVICE).manual_seed(1))]
    mask, _ = prepare_flex(case, timed=False)
    for name, options in FLEX_OPTIONS.items():
        try:
            flex(case, sets, mask, options, name).run(1)
            torch.cuda.synchronize()
        except Exception as error:  # noqa: BLE001: the run meets the same and says so
            print(f"ahead: {case.name}, {name}: {str(error).splitlines()[0]}", flush=True)


if __name__ == "__main__":
    cache_environment()
    _compile(Path(sys.argv[1]), int(sys.argv[2]))
