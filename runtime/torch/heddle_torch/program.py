"""A program of several kernels and a call's sizes in; its launches one behind the other, with their arguments but for the
addresses in them, out. No pointers and no tensors: what runtime/cuda/stages.ts does, number for number."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from .call import Sizes
from .errors import HeddleError
from .program_call import Buffer, ProgramCall
from .rules import to_uint32
from .stored import Size, Stored, place_stored, stored_of

MOST_BLOCKS = 2**31 - 1
# Fields that come before the params in the uniforms of an attend over tiles, and of any other kernel.
TILE_FIELDS, UNIT_FIELDS = 25, 23


class KernelLaunch(NamedTuple):
    """Of one of the program's own kernels. `block`: its argument; `addresses`: where in it which buffer's address stands."""

    kernel: Mapping[str, Any]
    blocks: int
    block: bytes
    addresses: Tuple[Tuple[int, Buffer], ...]


class Header(NamedTuple):
    """The words that a list begins with, to be there before the kernel that makes it."""

    name: str
    units: int


class FasterLaunch(NamedTuple):
    """A kernel of a mask's own kind over stored values. `stride`: words of a record of its list; None: the variant says it.
    `key_rows`: rows of the stored keys; None: they are the call's."""

    faster: Mapping[str, Any]
    stride: Optional[int]
    list_bytes: int
    key_rows: Optional[int]

    def sizes(self, sizes: Sizes) -> Sizes:
        return sizes if self.key_rows is None else replace(sizes, kv_rows=self.key_rows)


class Keys(NamedTuple):
    """Halves of stored keys and values, as tensor maps see them: where in `list` they begin, shapes and strides."""

    shapes: Mapping[str, List[int]]
    strides: Mapping[str, Tuple[int, int, int]]
    offsets: Mapping[str, int]


def keys_of(keys: Mapping[str, Any], sizes: Sizes) -> Keys:
    batch, heads, rows = sizes.batch, sizes.kv_heads, sizes.kv_rows
    dims = {"k": sizes.head_dim, "v": sizes.value_dim}
    shapes = {"k": [keys["parts"] * batch, heads, rows, dims["k"]], "v": [batch, heads, rows, dims["v"]]}
    strides = {name: (heads * rows * dim, rows * dim, dim) for name, dim in dims.items()}
    return Keys(shapes, strides, {"k": 0, "v": 2 * keys["parts"] * batch * heads * rows * dims["k"]})


Work = Union[KernelLaunch, Header, FasterLaunch]


class Program(NamedTuple):
    launches: Tuple[Work, ...]
    stored: Stored


def plan_program(program: Mapping[str, Any], call: ProgramCall, takes_faster: Callable[[Mapping[str, Any]], bool]) -> Program:
    """`takes_faster`: whether the device and the tensors allow what stands in for a kernel."""
    size = call.size()
    stored = place_stored(program, size)
    # Of the lists whose first kernel is not launched yet: before, what lies there may be another value's.
    headers = dict(stored.headers)
    launches: List[Work] = []

    def launch(kernel: Mapping[str, Any], chunk: Optional[Tuple[int, int]]) -> None:
        if kernel["when"] is not None and not size(kernel["when"]):
            return
        for name in stored_of(kernel):
            if name in headers:
                launches.append(Header(name, headers.pop(name)))
        if kernel["faster"] and takes_faster(kernel):
            for faster in kernel["faster"]:
                records = faster["records"]
                stride = None if records is None else size(records["stride"])
                list_bytes = 0 if stride is None else 4 * stride * size(records["count"])
                key_rows = None if faster["keys"] is None else size(faster["keys"]["rows"])
                launches.append(FasterLaunch(faster, stride, list_bytes, key_rows))
            return
        made = (_over_tiles if kernel["grid"]["kind"] == "tiles" else _over_units)(kernel, call, chunk, size)
        if made is None:
            return
        blocks, numbers = made
        if blocks > MOST_BLOCKS:
            raise HeddleError("grid", entry=f"{program['id']}.{kernel['name']}", grid=[blocks, 1, 1], call=call.sizes.text())
        launches.append(KernelLaunch(kernel, blocks, *_argument(kernel, call, stored, numbers)))

    for step in program["steps"]:
        if step["kind"] == "once":
            launch(step["kernel"], None)
            continue
        of_chunk, units = size(step["rows"]), size(step["units"])
        for base in range(0, units, of_chunk):
            for kernel in step["kernels"]:
                launch(kernel, (base, min(of_chunk, units - base)))
    return Program(tuple(launches), stored)


def _argument(
    kernel: Mapping[str, Any], call: ProgramCall, stored: Stored, numbers: Mapping[str, float]
) -> Tuple[bytes, Tuple[Tuple[int, Buffer], ...]]:
    """Uniforms of four bytes each, filled up to eight; then of each buffer eight bytes for its address, and its words."""
    fixed = TILE_FIELDS if kernel["grid"]["kind"] == "tiles" else UNIT_FIELDS
    start = -(-len(kernel["uniforms"]) // 2) * 8
    block = bytearray(start + 16 * len(kernel["buffers"]))
    for i, field in enumerate(kernel["uniforms"]):
        # A param may be called like a fixed field: what comes after the fixed ones is a param.
        value = numbers[field["name"]] if i < fixed else call.uniform(field["name"])
        if field["type"] == "f32":
            struct.pack_into("<f", block, 4 * i, value)
        else:
            struct.pack_into("<I", block, 4 * i, to_uint32(float(value)))
    addresses = []
    for i, buffer in enumerate(kernel["buffers"]):
        named = (buffer["role"], buffer["name"])
        words = stored.words[buffer["name"]] if buffer["role"] == "stored" else call.words[named]
        struct.pack_into("<I", block, start + 16 * i + 8, max(1, words))
        addresses.append((start + 16 * i, named))
    return bytes(block), tuple(addresses)


def _stride_fields(strides: Mapping[str, Sequence[int]]) -> Dict[str, float]:
    axes = ("Batch", "Head", "Row")
    return {f"{name}{axis}Stride": n for name, three in strides.items() for axis, n in zip(axes, three)}


def _over_units(
    kernel: Mapping[str, Any], call: ProgramCall, chunk: Optional[Tuple[int, int]], size: Size
) -> Optional[Tuple[int, Dict[str, float]]]:
    """Blocks and fixed fields of a kernel over units of queries: all of the call's, or those of a chunk."""
    grid, s = kernel["grid"], call.sizes
    base, count = (0, size(grid["units"])) if chunk is None else _in_chunk(grid, chunk, size)
    sharers, inner, tile = call.sharers(grid["share"]), grid["inner"], grid["tile"]
    if tile is not None:
        down, across = (tile["q"], tile["kv"]) if isinstance(tile, dict) else (tile, tile)
        blocks = sharers * -(-count // down) * (1 if inner is None else -(-size(inner) // across))
    elif inner is None:
        blocks = sharers * count
    else:
        blocks = -(-sharers * count * size(inner) // kernel["threads"])
    if blocks == 0:
        return None
    return blocks, {
        "batches": s.batch,
        "qHeads": s.q_heads,
        "kvHeads": s.kv_heads,
        "indexHeads": call.index_heads,
        "qRows": s.q_rows,
        "kvRows": s.kv_rows,
        "unitBase": base,
        "unitCount": count,
        "gridX": blocks,
        "groupCount": blocks,
        "scale": call.scale,
        **_stride_fields(call.strides),
    }


def _in_chunk(grid: Mapping[str, Any], chunk: Tuple[int, int], size: Size) -> Tuple[int, int]:
    """The units of a kernel within the units of a chunk: those that the call has."""
    base, count = chunk
    finer = grid["finer"]
    if finer is None:
        return chunk
    each, before = finer["each"], size(finer["before"])
    first = max(0, base * each - before)
    return first, max(0, min(size(grid["units"]), (base + count) * each - before) - first)


def _over_tiles(
    kernel: Mapping[str, Any], call: ProgramCall, _: Optional[Tuple[int, int]], size: Size
) -> Optional[Tuple[int, Dict[str, float]]]:
    """Blocks and fixed fields of an attend: a block a tile of queries."""
    grid, s = kernel["grid"], call.sizes
    tile, unit = grid["tile"], grid.get("unit")
    if unit is None:
        groups, tiles = s.q_heads, -(-s.q_rows // tile["q"])
    else:
        packs = s.q_heads // s.kv_heads if unit["packs"] else 1
        units = s.q_rows if unit["tokens"] == 1 else -(-s.q_rows // unit["tokens"]) + 1
        groups, tiles = s.q_heads // packs, units * -(-unit["tokens"] * packs // tile["q"])
    blocks = s.batch * groups * tiles
    if blocks == 0:
        return None
    strides = dict(call.strides)
    if grid["rows"] is not None:
        # Stored keys and values lie one behind the other.
        rows = size(grid["rows"])
        strides.update({n: (s.kv_heads * rows * d, rows * d, d) for n, d in (("k", s.head_dim), ("v", s.value_dim))})
    return blocks, {
        "batch": s.batch,
        "batches": s.batch,
        "qHeads": s.q_heads,
        "kvHeads": s.kv_heads,
        "heads": s.q_heads,
        "batchBase": 0,
        "headBase": 0,
        "qRows": s.q_rows,
        "kvRows": s.kv_rows,
        "gridX": max(1, blocks),
        "tileCount": blocks,
        "scale": call.scale,
        "listStride": 1 + -(-s.kv_rows // tile["kv"]),
        **_stride_fields(strides),
    }
