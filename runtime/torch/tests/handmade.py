"""A manifest written by hand, small enough to read: what a build leaves, with hashes that are right."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from heddle_torch.artifact import content_hash  # noqa: E402

SIZE = {"pointer": 8, "i64": 8, "i32": 4, "f32": 4}
FIELDS: List[Tuple[str, str, int]] = [
    *((n, "pointer", 1) for n in ("q", "k", "v", "out", "lse", "lengths", "values", "pages", "parts", "list", "order", "before", "state", "counters", "scratch")),
    ("tables", "pointer", 8),
    *((n, "i64", 3) for n in ("qStride", "kStride", "vStride", "outStride")),
    *((n, "i32", 1) for n in ("batch", "qHeads", "kvHeads", "qRows", "kvRows", "headDim", "valueDim")),
    *((n, "i32", 1) for n in ("pageSize", "pageStride", "pageCount", "splits", "vectors", "listStride")),
    ("scale", "f32", 1),
]


def call_record() -> Dict[str, Any]:
    fields, offset = [], 0
    for name, kind, count in FIELDS:
        fields.append({"name": name, "type": kind, "count": count, "offset": offset})
        offset += SIZE[kind] * count
    return {"bytes": -(-offset // 8) * 8, "fields": fields}


def op(name: str, *src: Any) -> Dict[str, Any]:
    return {"op": name, "src": list(src)}


def var(name: str) -> Dict[str, str]:
    return {"var": name}


def variant(id: str, code: str = 'extern "C" __global__ void attend() {}', **changes: Any) -> Dict[str, Any]:
    tiles = op("floorDiv", op("add", var("qRows"), 63), 64)
    made = {
        "id": id,
        "skeleton": "ampere",
        "headDim": 64,
        "valueDim": 64,
        "dtype": "f16",
        "capability": {"min": 80, "max": 120},
        "suffix": "",
        "needs": {"vectors": False, "qRows": None, "pages": False},
        "pays": None,
        "debug": False,
        "tile": {"q": 64, "kv": 32},
        "units": 1,
        "entries": [
            {
                "name": "attend",
                "threads": 128,
                "sharedBytes": 65536,
                "grid": [tiles, var("qHeads"), var("batch")],
                "tensorMaps": [],
            }
        ],
        "splits": None,
        "workspace": {"counters": 0, "list": 0, "scratch": 0},
        "code": code,
        "cubins": [],
        **changes,
    }
    return {**made, "hash": hashlib.sha256(made["code"].encode()).hexdigest()}


def manifest(**changes: Any) -> Dict[str, Any]:
    """A causal window: one i32 param, one derived uniform of no length."""
    made: Dict[str, Any] = {
        "version": 5,
        "heddle": "0.1.0",
        "pattern": "hand-made",
        "cite": "",
        "target": "cuda",
        "consts": {},
        "params": [{"name": "window", "type": "i32", "default": 16, "min": 1, "max": 4096, "perHead": False}],
        "tables": [],
        "derived": [],
        "sinkLogit": False,
        "tiles": "ranges",
        "sharesLists": True,
        "call": call_record(),
        "lists": None,
        "stages": None,
        "variants": [variant("d64-f16-ampere")],
    }
    made.update(copy.deepcopy(changes))
    return {**made, "hash": content_hash(made)}


PROGRAM_DIM = 16
# Of a kernel over units of queries: the fixed ones, then the param.
STAGE_FIELDS = [
    *("batches", "qHeads", "kvHeads", "indexHeads", "qRows", "kvRows", "unitBase", "unitCount", "gridX", "groupCount", "scale"),
    *(f"{name}{axis}Stride" for name in ("q", "k", "v", "out") for axis in ("Batch", "Head", "Row")),
    "window",
]


def stage_kernel(name: str, **changes: Any) -> Dict[str, Any]:
    """A block a query of each head, over all that a call has and a list."""
    roles = [("q", None), ("k", None), ("v", None), ("out", None), ("lse", None), ("meta", None), ("stored", "ids")]
    made = {
        "name": name,
        "when": None,
        "threads": 32,
        "sharedBytes": 0,
        "grid": {"kind": "units", "share": "head", "units": var("qLen"), "inner": None, "finer": None, "tile": None},
        "uniforms": [{"name": n, "type": "f32" if n == "scale" else "i32"} for n in STAGE_FIELDS],
        "buffers": [{"role": role, "name": stored} for role, stored in roles],
        "code": name,
        "cubins": [],
        "forms": [],
        "faster": [],
        **changes,
    }
    return {**made, "hash": hashlib.sha256(made["code"].encode()).hexdigest()}


def program(**changes: Any) -> Dict[str, Any]:
    """Fields of a manifest of a causal window by two kernels: one makes a list in stretches of 4 queries, the other attends."""
    words = op("mul", op("mul", var("qHeads"), var("qLen")), {"param": "window"})
    choose = {"kind": "chunks", "rows": 4, "count": 0, "units": var("qLen"), "kernels": [stage_kernel("choose")]}
    variant = {
        "id": "d16-f16-stages",
        "headDim": PROGRAM_DIM,
        "valueDim": PROGRAM_DIM,
        "dtype": "f16",
        "capability": {"min": 80, "max": 129},
        "align": 4,
        "stored": [{"name": "ids", "words": words, "units": var("qLen")}],
        "steps": [choose, {"kind": "once", "kernel": stage_kernel("attend all")}],
        **changes,
    }
    return {"stages": {"rows": [], "variants": [variant]}, "variants": []}


def write(folder: Path, record: Dict[str, Any]) -> Path:
    path = Path(folder) / f"{record['pattern']}.json"
    path.write_text(json.dumps(record))
    return path
