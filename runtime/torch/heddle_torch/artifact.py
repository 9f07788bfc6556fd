"""A manifest's file in, a checked Artifact out: its version, its form and its hash, as codegen/cuda/manifest.ts says them."""

from __future__ import annotations

import hashlib
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from .errors import HeddleError
from .rules import DERIVED_VARS, SIZE_VARS, unknown_names
from .schema import (
    anything,
    boolean,
    bound,
    count,
    digest,
    is_number,
    is_whole,
    list_of,
    map_of,
    nullable,
    number,
    of,
    one_of,
    place,
    record_of,
    string,
)
from .stage_schema import stage_disagreement, stages_check, texts_of

READS_VERSION = 5
AXES = ("batch", "head", "kvHead", "indexHead", "qLen", "kvLen", "headDim")
FIELD_BYTES = {"pointer": 8, "i64": 8, "i32": 4, "f32": 4}


def _rule(x: Any, path: str) -> Optional[str]:
    unknown = unknown_names(x, set(), SIZE_VARS)
    return f"{path} uses {unknown[0]}, which this package does not know" if unknown else None


def _grid(x: Any, path: str) -> Optional[str]:
    return list_of(_rule)(x, path) or (None if len(x) == 3 else f"{path} has {len(x)} rules, not 3")


_dim = of(lambda x: x in AXES if isinstance(x, str) else is_whole(x) and x > 0, "axis and no size")
_type = one_of("i32", "f32")
_cubin = record_of(arch=string, file=string, sha256=digest)
_entry = record_of(
    name=string,
    threads=count,
    sharedBytes=place,
    grid=_grid,
    tensorMaps=list_of(
        record_of(tensor=one_of("q", "k", "v", "out"), columns=count, rows=count, swizzle=one_of(64, 128), step=anything)
    ),
)
_variant = record_of(
    id=string,
    skeleton=string,
    headDim=count,
    valueDim=count,
    dtype=one_of("bf16", "f16"),
    capability=record_of(min=count, max=count),
    suffix=one_of("", "a"),
    needs=record_of(vectors=boolean, qRows=nullable(count), pages=boolean),
    pays=anything,
    debug=boolean,
    tile=record_of(q=count, kv=count),
    units=count,
    entries=list_of(_entry),
    splits=lambda x, path: None if x is None else _rule(x, path),
    workspace=record_of(counters=_rule, list=_rule, scratch=_rule),
    hash=digest,
    code=string,
    cubins=list_of(_cubin),
)
_artifact = record_of(
    heddle=string,
    pattern=string,
    cite=string,
    hash=digest,
    consts=map_of(number),
    params=list_of(record_of(name=string, type=_type, default=number, min=number, max=number, perHead=boolean)),
    tables=list_of(
        record_of(name=string, type=_type, dims=list_of(_dim), min=bound, max=bound, monotone=boolean)
    ),
    derived=list_of(record_of(name=string, type=_type, value=anything)),
    sinkLogit=boolean,
    tiles=one_of("ranges", "test", "list"),
    sharesLists=boolean,
    call=record_of(
        bytes=count,
        fields=list_of(record_of(name=string, type=one_of(*FIELD_BYTES), count=count, offset=place)),
    ),
    lists=nullable(list_of(record_of(share=one_of("head", "kvHead", "request"), q=anything, kv=anything))),
    stages=stages_check(_cubin, _variant),
    variants=list_of(_variant),
)


def _disagreement(record: Dict[str, Any]) -> Optional[str]:
    """Names that the parts of a well-shaped record use of each other."""
    params = {p["name"] for p in record["params"]}
    for d in record["derived"]:
        unknown = unknown_names(d["value"], params, DERIVED_VARS)
        if unknown:
            return f"derived {d['name']} uses {unknown[0]}, which this package does not know"
    for f in record["call"]["fields"]:
        size = FIELD_BYTES[f["type"]]
        if f["offset"] % size or f["offset"] + size * f["count"] > record["call"]["bytes"]:
            return f"call.{f['name']} at byte {f['offset']} is misplaced"
    scalars = {p["name"] for p in record["params"] if not p["perHead"]}
    for v in record["variants"]:
        rules = [v["pays"], *(rule["step"] for entry in v["entries"] for rule in entry["tensorMaps"])]
        unknown = [n for rule in rules if rule is not None for n in unknown_names(rule, scalars, SIZE_VARS)]
        if unknown:
            return f"{v['id']} uses {unknown[0]}, which this package does not know"
    for text in texts_of(record):
        if hashlib.sha256(text["code"].encode()).hexdigest() != text["hash"]:
            return f"the text of {text['id']} is not the one that was hashed"
    return stage_disagreement(record)


def js_number(x: Union[int, float]) -> str:
    """A number as JavaScript writes it: the shortest digits, an exponent below 1e-6 and from 1e21 on."""
    x = float(x)
    if not math.isfinite(x):
        return "null"
    shortest = Decimal(repr(x))
    if x == int(x) and abs(x) < 1e21:
        return str(int(shortest))
    if 1e-6 <= abs(x) < 1e21:
        return format(shortest, "f")
    digits = "".join(map(str, shortest.normalize().as_tuple().digits))
    sign, exponent = "-" if x < 0 else "", shortest.adjusted()
    return f"{sign}{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{exponent:+d}"


def canonical(value: Any) -> str:
    """JSON with the keys sorted at every level and no spaces, as the builder hashed it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if is_number(value):
        return js_number(value)
    return json.dumps(value, ensure_ascii=False)


def content_hash(record: Dict[str, Any]) -> str:
    """Over all fields but `hash` and the `cubins` of every text."""
    rest = {k: v for k, v in record.items() if k != "hash"}
    return hashlib.sha256(canonical(_without_cubins(rest)).encode()).hexdigest()


def _without_cubins(x: Any) -> Any:
    if isinstance(x, list):
        return [_without_cubins(item) for item in x]
    return {k: _without_cubins(v) for k, v in x.items() if k != "cubins"} if isinstance(x, dict) else x


class Artifact:
    """A checked manifest: `record` as JSON has it, `folder` where cubins lie."""

    def __init__(self, record: Dict[str, Any], folder: Path) -> None:
        self.record = record
        self.folder = folder
        self.pattern: str = record["pattern"]
        self.hash: str = record["hash"]
        self.params: List[Dict[str, Any]] = record["params"]
        self.tables: List[Dict[str, Any]] = record["tables"]
        self.derived: List[Dict[str, Any]] = record["derived"]
        self.variants: List[Dict[str, Any]] = record["variants"]
        # Of a program of several kernels what it is for each dtype and pair of head dims, and the rows that a call gives it.
        self.programs: List[Dict[str, Any]] = [] if record["stages"] is None else record["stages"]["variants"]
        self.rows: List[Dict[str, Any]] = [] if record["stages"] is None else record["stages"]["rows"]
        self.is_program: bool = record["stages"] is not None
        self.param_names: Tuple[str, ...] = tuple(p["name"] for p in self.params)
        self.table_names: Tuple[str, ...] = tuple(t["name"] for t in self.tables)
        self.row_names: Tuple[str, ...] = tuple(r["name"] for r in self.rows)

    def runs(self, dtype: str, head_dim: int, value_dim: int) -> bool:
        """Whether there is a kernel of these; those of a program are for their own dims alone."""
        if self.is_program:
            return any((v["dtype"], v["headDim"], v["valueDim"]) == (dtype, head_dim, value_dim) for v in self.programs)
        return any(v["dtype"] == dtype and head_dim <= v["headDim"] and value_dim <= v["valueDim"] for v in self.variants)


def parse_artifact(record: Any, where: str = "artefact", folder: Path = Path(".")) -> Artifact:
    if not isinstance(record, dict):
        raise HeddleError("not-an-artifact", path=where, what="it is no JSON record")
    if "version" not in record or "hash" not in record:
        raise HeddleError("not-an-artifact", path=where, what="it has no version and hash")
    if record.get("target") != "cuda":
        raise HeddleError("artifact-target", path=where, got=record.get("target"))
    if record["version"] != READS_VERSION:
        raise HeddleError("artifact-version", path=where, expected=READS_VERSION, got=record["version"])
    wrong = _artifact(record, "") or _disagreement(record)
    if wrong is not None:
        raise HeddleError("not-an-artifact", path=where, what=wrong)
    got = content_hash(record)
    if got != record["hash"]:
        raise HeddleError("artifact-hash", path=where, expected=record["hash"], got=got)
    return Artifact(record, folder)


def read_artifact(path: Union[str, Path]) -> Artifact:
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise HeddleError("no-file", path=str(path), detail=str(e)) from e
    try:
        record = json.loads(text)
    except ValueError as e:
        raise HeddleError("not-an-artifact", path=str(path), what=str(e)) from e
    return parse_artifact(record, str(path), path.parent)
