"""A call's sizes in; the variant that runs it, its grids and workspaces, and the bytes of struct Call, filled by name, out."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from .artifact import FIELD_BYTES, Artifact
from .errors import HeddleError
from .rules import leaves_of, size

MAX_GRID = (2**31 - 1, 65535, 65535)
LIMITS = {"length": 2**22, "heads": 2**16, "batch": 2**16}


@dataclass(frozen=True)
class Sizes:
    batch: int
    q_heads: int
    kv_heads: int
    q_rows: int
    kv_rows: int
    head_dim: int
    value_dim: int

    def text(self) -> str:
        return (
            f"batch {self.batch}, heads {self.q_heads}/{self.kv_heads}, q rows {self.q_rows}, kv rows {self.kv_rows}, "
            f"head dims {self.head_dim}/{self.value_dim}"
        )


def check_sizes(sizes: Sizes) -> None:
    if sizes.kv_heads == 0 or sizes.q_heads % sizes.kv_heads:
        raise HeddleError("heads-group", q_heads=sizes.q_heads, kv_heads=sizes.kv_heads)
    for what, got, limit in (
        ("q rows", sizes.q_rows, "length"),
        ("kv rows", sizes.kv_rows, "length"),
        ("heads", sizes.q_heads, "heads"),
        ("batch", sizes.batch, "batch"),
    ):
        if got > LIMITS[limit]:
            raise HeddleError("size-limit", what=what, most=LIMITS[limit], got=got)


def unaligned(tensors: Mapping[str, Tuple[int, Sequence[int], Sequence[int]]], element: int = 2) -> Optional[str]:
    """The first tensor (pointer, shape, strides) that a 16-byte rule refuses, in words; None if all meet it."""
    for name, (pointer, shape, strides) in tensors.items():
        if pointer % 16:
            return f"{name} starts at an address that is no multiple of 16 bytes"
        for axis in range(3):
            if shape[axis] > 1 and strides[axis] * element % 16:
                return f"{name} has a stride of {strides[axis]} elements, no multiple of 16 bytes"
    return None


def _misfit(
    v: Mapping[str, Any], sizes: Sizes, capability: int, paged: bool, misaligned: Optional[str], shared: int
) -> Optional[str]:
    """Why a variant of the right dtype and dims does not run a call, in words; None if it does."""
    lo, hi = v["capability"]["min"], v["capability"]["max"]
    if not lo <= capability <= hi:
        return f"{v['id']} runs on compute capability {lo / 10} to {hi / 10}, the GPU has {capability / 10}"
    most = max(entry["sharedBytes"] for entry in v["entries"])
    if most > shared:
        return f"{v['id']} needs {most} bytes of shared memory, the GPU has {shared}"
    needs = v["needs"]
    if needs["vectors"] and misaligned is not None:
        return f"{v['id']}: {misaligned}"
    if needs["qRows"] is not None and sizes.q_rows > needs["qRows"]:
        return f"{v['id']} takes at most {needs['qRows']} query rows"
    if paged and not needs["pages"]:
        return f"{v['id']} reads no pages"
    return None


# A call's scalar param by name; None: it lies on the device, where the host cannot see it.
Param = Callable[[str], Optional[float]]


def _reads_unknown(v: Mapping[str, Any], param: Param) -> Optional[str]:
    """A param that a variant's launch hangs on and the host does not know."""
    rules = [v["pays"], *(rule["step"] for entry in v["entries"] for rule in entry["tensorMaps"])]
    names = {leaf[6:] for rule in rules for leaf in leaves_of(rule) if leaf.startswith("param ")}
    return next((n for n in sorted(names) if param(n) is None), None)


def variables_of(sizes: Sizes, multiprocessors: int) -> Dict[str, float]:
    """What rules may read."""
    return {
        "batch": sizes.batch,
        "qHeads": sizes.q_heads,
        "kvHeads": sizes.kv_heads,
        "group": sizes.q_heads // sizes.kv_heads,
        "qRows": sizes.q_rows,
        "kvRows": sizes.kv_rows,
        "headDim": sizes.head_dim,
        "valueDim": sizes.value_dim,
        "multiprocessors": multiprocessors,
    }


def scalars_of(artifact: Artifact, params: Optional[Mapping[str, Any]]) -> Param:
    """A call's params that are one number; those that a state holds on the device are not known here."""
    known: Dict[str, float] = {}
    if params is not None:
        for p in artifact.params:
            if not p["perHead"]:
                given = params.get(p["name"])
                known[p["name"]] = float(p["default"] if given is None else given)
    return known.get


def _unknown(_: str) -> Optional[float]:
    return None


def choose_variant(
    artifact: Artifact,
    dtype: str,
    sizes: Sizes,
    capability: int,
    paged: bool = False,
    misaligned: Optional[str] = None,
    only: Optional[str] = None,
    shared: int = 227 * 1024,
    param: Param = _unknown,
) -> Dict[str, Any]:
    """The first variant, in the artefact's order, that runs the call. `only`: take this one alone into account, by id."""
    if capability < 80:
        raise HeddleError("old-gpu", got=divmod(capability, 10))
    reasons: List[str] = []
    fits_dims = False
    for v in artifact.variants:
        if only is not None and v["id"] != only:
            continue
        if v["dtype"] != dtype or sizes.head_dim > v["headDim"] or sizes.value_dim > v["valueDim"]:
            reasons.append(f"{v['id']} is for {v['dtype']} and head dims up to {v['headDim']}/{v['valueDim']}")
            continue
        fits_dims = True
        why = _misfit(v, sizes, capability, paged, misaligned, shared)
        hidden = _reads_unknown(v, param)
        if why is None and hidden is not None:
            why = f"{v['id']} needs {hidden} on the host"
        # Multiprocessors are no matter of what pays.
        if why is None and only is None and v["pays"] is not None and not size(v["pays"], variables_of(sizes, 1), param):
            why = f"{v['id']} does not pay for these sizes and params"
        if why is None:
            return v
        reasons.append(why)
    if paged and fits_dims and not any(v["needs"]["pages"] for v in artifact.variants):
        raise HeddleError("pages-variant", pattern=artifact.pattern)
    wanted = f"{dtype}, {sizes.text()}{', paged' if paged else ''}{f', called {only}' if only else ''}"
    raise HeddleError("no-variant", pattern=artifact.pattern, wanted=wanted, reasons=reasons)


class Layout:
    """Where the fields of struct Call lie: filled by name, whatever their order in the manifest."""

    _CODE = {"pointer": "Q", "i64": "q", "i32": "i", "f32": "f"}

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.bytes: int = record["bytes"]
        self._fields = {f["name"]: f for f in record["fields"]}
        # Index, among 8-byte words, of a pointer field's first element.
        self.slots = {f["name"]: f["offset"] // 8 for f in record["fields"] if f["type"] == "pointer"}

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def write(self, buffer: Any, name: str, *values: float) -> None:
        f = self._fields[name]
        if len(values) > f["count"]:
            raise ValueError(f"call.{name} holds {f['count']} values, got {len(values)}")
        for i, value in enumerate(values):
            struct.pack_into("<" + self._CODE[f["type"]], buffer, f["offset"] + i * FIELD_BYTES[f["type"]], value)


class CallBuffer:
    """The struct of one plan, kept from call to call: constants written once, pointers patched through `words`."""

    def __init__(self, layout: Layout) -> None:
        words = (layout.bytes + 7) // 8
        self.memory = (ctypes.c_uint64 * words)()
        self.address = ctypes.addressof(self.memory)
        self.words = memoryview(self.memory).cast("B").cast("Q")
        self.bytes = memoryview(self.memory).cast("B")


@dataclass(frozen=True)
class Shape:
    """How a variant is launched for given sizes."""

    grids: Tuple[Tuple[int, int, int], ...]
    splits: int
    counters: int
    list: int
    scratch: int
    list_stride: int


def shape_of(variant: Mapping[str, Any], sizes: Sizes, multiprocessors: int) -> Shape:
    variables = variables_of(sizes, multiprocessors)
    splits = 1 if variant["splits"] is None else size(variant["splits"], variables)
    variables["splits"] = splits
    grids = []
    for entry in variant["entries"]:
        grid = tuple(size(rule, variables) for rule in entry["grid"])
        # A grid of no blocks: the entry is not launched for this call.
        if any(n < 0 or n > most for n, most in zip(grid, MAX_GRID)):
            raise HeddleError("grid", entry=f"{variant['id']}.{entry['name']}", grid=list(grid), call=sizes.text())
        grids.append(grid)
    work = {name: size(rule, variables) for name, rule in variant["workspace"].items()}
    list_stride = 1 + variant["units"] * -(-sizes.kv_rows // variant["tile"]["kv"])
    return Shape(tuple(grids), splits, work["counters"], work["list"], work["scratch"], list_stride)


def fill_call(
    layout: Layout,
    buffer: CallBuffer,
    sizes: Sizes,
    shape: Shape,
    strides: Mapping[str, Sequence[int]],
    scale: float,
    vectors: bool,
    paging: Tuple[int, int, int] = (0, 0, 0),
) -> None:
    """Everything but the pointers. `paging`: page size, entries of a row of the page table, pages."""
    for name in ("q", "k", "v", "out"):
        layout.write(buffer.bytes, f"{name}Stride", *strides[name])
    numbers = {
        "batch": sizes.batch,
        "qHeads": sizes.q_heads,
        "kvHeads": sizes.kv_heads,
        "qRows": sizes.q_rows,
        "kvRows": sizes.kv_rows,
        "headDim": sizes.head_dim,
        "valueDim": sizes.value_dim,
        "pageSize": paging[0],
        "pageStride": paging[1],
        "pageCount": paging[2],
        "splits": shape.splits,
        "vectors": int(vectors),
        "listStride": shape.list_stride,
        "scale": scale,
    }
    for name, value in numbers.items():
        layout.write(buffer.bytes, name, value)
