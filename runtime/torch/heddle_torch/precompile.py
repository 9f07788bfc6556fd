"""`python -m heddle_torch.precompile PATH.. [--capability 90]`: fills the cache, on all cores, with the kernels of manifests.

A PATH is a manifest or a folder of them. Without a GPU the capability (times ten) says what to compile for.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Optional, Tuple

from .artifact import Artifact, read_artifact
from .compiler import machine_code
from .errors import HeddleError
from .powers import Powers
from .stage_schema import in_form, kernels_of, text_of


def manifests(paths: List[str]) -> List[Path]:
    found: List[Path] = []
    for path in map(Path, paths):
        # Other records may lie beside manifests, which are NAME.cuda.json or NAME.json.
        inside = sorted(p for p in path.glob("*.json") if p.name.replace(".cuda.json", ".json").count(".") == 1)
        found += inside if path.is_dir() else [path]
    return found


def texts_for(artifact: Artifact, capability: int) -> Iterator[Mapping[str, Any]]:
    """What calls on such a device run; of a program's kernels the forms and stand-ins that aligned tensors get."""
    powers = Powers(capability, shared_bytes=2**31, vectors=True)
    fits = lambda text: powers.has(text["capability"], 0, vectors=False)
    yield from filter(fits, artifact.variants)
    for program in filter(fits, artifact.programs):
        for kernel in kernels_of(program):
            if powers.takes_faster(kernel):
                yield from (f["variant"] for f in kernel["faster"])
            else:
                yield from (text_of(in_form(kernel, form)) for form in powers.forms(kernel))


def compile_one(path: str, digest: str, capability: int) -> Tuple[str, float, Optional[str]]:
    artifact = read_artifact(path)
    text = next(t for t in texts_for(artifact, capability) if t["hash"] == digest)
    name = f"{artifact.pattern} {text['id']}"
    start = time.perf_counter()
    try:
        machine_code(artifact, text, capability)
    except HeddleError as e:
        return name, time.perf_counter() - start, str(e)
    return name, time.perf_counter() - start, None


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m heddle_torch.precompile")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--capability", type=int, help="90 for sm_90; by default the first GPU's")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(argv)
    capability = given.capability
    if capability is None:
        import torch

        major, minor = torch.cuda.get_device_capability()
        capability = 10 * major + minor
    work = []
    for path in manifests(given.paths):
        artifact = read_artifact(path)
        work += [(str(path), digest, capability) for digest in {t["hash"]: None for t in texts_for(artifact, capability)}]
    failed = 0
    slowest = ("", 0.0)
    start = time.perf_counter()
    with ProcessPoolExecutor(given.jobs) as pool:
        for done in as_completed([pool.submit(compile_one, *w) for w in work]):
            name, seconds, error = done.result()
            slowest = max(slowest, (name, seconds), key=lambda x: x[1])
            if error is not None:
                failed += 1
                print(error, file=sys.stderr)
    took = time.perf_counter() - start
    print(f"{len(work) - failed} kernels ready, {failed} failed, {took:.1f} s; slowest {slowest[0]}, {slowest[1]:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
