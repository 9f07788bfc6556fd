"""A manifest's file in, a checked Artifact out: its version, its form and its hash, as codegen/cuda/manifest.ts says them."""

from __future__ import annotations

import hashlib
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from .errors import HeddleError
from .rules import DERIVED_VARS, SIZE_VARS, unknown_names

READS_VERSION = 3
AXES = ("batch", "head", "kvHead", "indexHead", "qLen", "kvLen", "headDim")
FIELD_BYTES = {"pointer": 8, "i64": 8, "i32": 4, "f32": 4}

# What is wrong with a value, or None.
Check = Callable[[Any, str], Optional[str]]


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _is_whole(x: Any) -> bool:
    return _is_number(x) and math.isfinite(x) and x == int(x)


def _of(test: Callable[[Any], bool], what: str) -> Check:
    return lambda x, path: None if test(x) else f"{path} is no {what}"


_string = _of(lambda x: isinstance(x, str), "string")
_boolean = _of(lambda x: isinstance(x, bool), "boolean")
_number = _of(_is_number, "number")
_count = _of(lambda x: _is_whole(x) and x > 0, "positive whole number")
_place = _of(lambda x: _is_whole(x) and x >= 0, "whole number")
# JSON writes an infinite bound as null.
_bound = _of(lambda x: x is None or _is_number(x), "number")
_dim = _of(lambda x: x in AXES if isinstance(x, str) else _is_whole(x) and x > 0, "axis and no size")
_digest = _of(lambda x: isinstance(x, str) and len(x) == 64, "SHA-256")


def _anything(x: Any, path: str) -> Optional[str]:
    return None


def _one_of(*values: Any) -> Check:
    return lambda x, path: None if x in values else f"{path} is {x!r}, none of {', '.join(map(str, values))}"


def _nullable(check: Check) -> Check:
    return lambda x, path: None if x is None else check(x, path)


def _rule(x: Any, path: str) -> Optional[str]:
    unknown = unknown_names(x, set(), SIZE_VARS)
    return f"{path} uses {unknown[0]}, which this package does not know" if unknown else None


def _list_of(check: Check) -> Check:
    def f(x: Any, path: str) -> Optional[str]:
        if not isinstance(x, list):
            return f"{path} is no list"
        return next(filter(None, (check(item, f"{path}[{i}]") for i, item in enumerate(x))), None)

    return f


def _record_of(**fields: Check) -> Check:
    def f(x: Any, path: str) -> Optional[str]:
        if not isinstance(x, dict):
            return f"{path or 'it'} is no record"
        inside = f"{path}." if path else ""
        return next(filter(None, (check(x.get(key), inside + key) for key, check in fields.items())), None)

    return f


def _map_of(check: Check) -> Check:
    def f(x: Any, path: str) -> Optional[str]:
        if not isinstance(x, dict):
            return f"{path} is no record"
        return next(filter(None, (check(item, f"{path}.{key}") for key, item in x.items())), None)

    return f


def _grid(x: Any, path: str) -> Optional[str]:
    return _list_of(_rule)(x, path) or (None if len(x) == 3 else f"{path} has {len(x)} rules, not 3")


_type = _one_of("i32", "f32")
_entry = _record_of(
    name=_string,
    threads=_count,
    sharedBytes=_place,
    grid=_grid,
    tensorMaps=_list_of(
        _record_of(tensor=_one_of("q", "k", "v", "out"), columns=_count, rows=_count, swizzle=_one_of(64, 128), step=_anything)
    ),
)
_variant = _record_of(
    id=_string,
    skeleton=_string,
    headDim=_count,
    valueDim=_count,
    dtype=_one_of("bf16", "f16"),
    capability=_record_of(min=_count, max=_count),
    suffix=_one_of("", "a"),
    needs=_record_of(vectors=_boolean, qRows=_nullable(_count), pages=_boolean),
    pays=_anything,
    debug=_boolean,
    tile=_record_of(q=_count, kv=_count),
    units=_count,
    entries=_list_of(_entry),
    splits=lambda x, path: None if x is None else _rule(x, path),
    workspace=_record_of(counters=_rule, list=_rule, scratch=_rule),
    hash=_digest,
    code=_string,
    cubins=_list_of(_record_of(arch=_string, file=_string, sha256=_digest)),
)
_artifact = _record_of(
    heddle=_string,
    pattern=_string,
    cite=_string,
    hash=_digest,
    consts=_map_of(_number),
    params=_list_of(_record_of(name=_string, type=_type, default=_number, min=_number, max=_number, perHead=_boolean)),
    tables=_list_of(
        _record_of(name=_string, type=_type, dims=_list_of(_dim), min=_bound, max=_bound, monotone=_boolean)
    ),
    derived=_list_of(_record_of(name=_string, type=_type, value=_anything)),
    sinkLogit=_boolean,
    tiles=_one_of("ranges", "test", "list"),
    sharesLists=_boolean,
    call=_record_of(
        bytes=_count,
        fields=_list_of(_record_of(name=_string, type=_one_of(*FIELD_BYTES), count=_count, offset=_place)),
    ),
    lists=_nullable(_list_of(_record_of(share=_one_of("head", "kvHead", "request"), q=_anything, kv=_anything))),
    stages=_anything,
    variants=_list_of(_variant),
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
        if hashlib.sha256(v["code"].encode()).hexdigest() != v["hash"]:
            return f"the text of {v['id']} is not the one that was hashed"
    return None


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
    if _is_number(value):
        return js_number(value)
    return json.dumps(value, ensure_ascii=False)


def content_hash(record: Dict[str, Any]) -> str:
    """Over all fields but `hash` and each variant's `cubins`."""
    rest = {k: v for k, v in record.items() if k != "hash"}
    rest["variants"] = [{k: v for k, v in variant.items() if k != "cubins"} for variant in record["variants"]]
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


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
        self.param_names: Tuple[str, ...] = tuple(p["name"] for p in self.params)
        self.table_names: Tuple[str, ...] = tuple(t["name"] for t in self.tables)


def parse_artifact(record: Any, where: str = "artefact", folder: Path = Path(".")) -> Artifact:
    if not isinstance(record, dict):
        raise HeddleError("not-an-artifact", path=where, what="it is no JSON record")
    if "version" not in record or "hash" not in record:
        raise HeddleError("not-an-artifact", path=where, what="it has no version and hash")
    if record.get("target") != "cuda":
        raise HeddleError("artifact-target", path=where, got=record.get("target"))
    if record["version"] != READS_VERSION:
        raise HeddleError("artifact-version", path=where, expected=READS_VERSION, got=record["version"])
    if record.get("stages") is not None:
        raise HeddleError("program", path=where)
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
