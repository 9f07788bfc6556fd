"""A folder of artefacts in; a small call of every kernel in it run through the driver alone, for compute-sanitizer to watch.

No torch: its own kernels would drown ours, and its allocator would hide a read past a tensor's end. Every tensor is an
allocation of its own, of exactly its size. Values are all one, so each element of the output must be one too.
"""

from __future__ import annotations

import ctypes
import random
import sys
from array import array
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runtime" / "torch"))

from heddle_torch.artifact import Artifact, read_artifact  # noqa: E402
from heddle_torch.call import CallBuffer, Layout, Sizes, fill_call, scalars_of, shape_of, variables_of  # noqa: E402
from heddle_torch.compiler import machine_code  # noqa: E402
from heddle_torch.driver import Launch, driver  # noqa: E402
from heddle_torch.rules import size  # noqa: E402
from heddle_torch.values import default_lengths, resolve_params, value_words  # noqa: E402

ONE = {"bf16": 0x3F80, "f16": 0x3C00}
# Within two units in the last place of a bf16 near one.
NEAR = 2
SMALL_PARAMS = {"window": 70, "sinkTokens": 5}
PAGE = 24


class Memory:
    """Device allocations of one case, each exactly as large as what it holds."""

    def __init__(self) -> None:
        self._held: List[ctypes.c_uint64] = []

    def empty(self, size: int) -> int:
        pointer = ctypes.c_uint64()
        driver().check(driver().lib.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(max(1, size))), "cuMemAlloc")
        self._held.append(pointer)
        return pointer.value

    def holding(self, content: array[int]) -> int:
        size = len(content) * content.itemsize
        pointer = self.empty(size)
        if size:
            host = (ctypes.c_char * size).from_buffer(content)
            status = driver().lib.cuMemcpyHtoD_v2(ctypes.c_uint64(pointer), host, ctypes.c_size_t(size))
            driver().check(status, "cuMemcpyHtoD")
        return pointer

    def read(self, pointer: int, count: int) -> array[int]:
        content = array("H", bytes(2 * count))
        host = (ctypes.c_char * (2 * count)).from_buffer(content)
        status = driver().lib.cuMemcpyDtoH_v2(host, ctypes.c_uint64(pointer), ctypes.c_size_t(2 * count))
        driver().check(status, "cuMemcpyDtoH")
        return content

    def free(self) -> None:
        for pointer in self._held:
            driver().check(driver().lib.cuMemFree_v2(pointer), "cuMemFree")


def noise(count: int, dtype: str, draw: random.Random) -> array[int]:
    """Finite numbers of either sign around one."""
    exponent, mantissa, bias = (7, 7, 127) if dtype == "bf16" else (10, 10, 15)
    return array(
        "H",
        (
            draw.getrandbits(1) << 15 | (bias - draw.randrange(4)) << exponent | draw.getrandbits(mantissa)
            for _ in range(count)
        ),
    )


def words(values: Sequence[int]) -> array[int]:
    return array("I", (value & 0xFFFFFFFF for value in values))


def table_words(info: Mapping[str, Any], sizes: Sizes) -> array[int]:
    """Runs of 50 keys: document numbers, or where a document starts if the values may not fall."""
    if list(info["dims"]) != ["batch", "kvLen"] or info["type"] != "i32":
        raise ValueError(f"no values are known for the table {info['name']}")
    row = [i // 50 * (50 if info["monotone"] else 1) for i in range(sizes.kv_rows)]
    return words(row * sizes.batch)


def contiguous(heads: int, rows: int, dim: int) -> Tuple[int, int, int]:
    return heads * rows * dim, rows * dim, dim


def run(artifact: Artifact, variant: Dict[str, Any], sizes: Sizes, paged: bool, capability: int, processors: int) -> None:
    memory, draw, d = Memory(), random.Random(5), driver()
    dtype = variant["dtype"]
    shapes = {
        "q": (sizes.batch, sizes.q_heads, sizes.q_rows, sizes.head_dim),
        "k": (sizes.batch, sizes.kv_heads, sizes.kv_rows, sizes.head_dim),
        "v": (sizes.batch, sizes.kv_heads, sizes.kv_rows, sizes.value_dim),
        "out": (sizes.batch, sizes.q_heads, sizes.q_rows, sizes.value_dim),
    }
    paging = (0, 0, 0)
    if paged:
        per_row = -(-sizes.kv_rows // PAGE)
        paging = (PAGE, per_row, per_row * sizes.batch)
        for name in ("k", "v"):
            shapes[name] = (paging[2], sizes.kv_heads, PAGE, shapes[name][3])
    strides = {name: contiguous(*shape[1:]) for name, shape in shapes.items()}
    count = {name: a * b * c * e for name, (a, b, c, e) in shapes.items()}
    pointers = {name: memory.holding(noise(count[name], dtype, draw)) for name in ("q", "k")}
    pointers["v"] = memory.holding(array("H", [ONE[dtype]]) * count["v"])
    pointers["out"] = memory.empty(2 * count["out"])
    pointers["lse"] = memory.empty(4 * sizes.batch * sizes.q_heads * sizes.q_rows)
    lengths = default_lengths(sizes.batch, sizes.q_rows, sizes.kv_rows)
    # Paged rows end inside a page: the struct speaks of whole ones.
    whole = sizes
    if paged:
        whole = Sizes(
            sizes.batch, sizes.q_heads, sizes.kv_heads, sizes.q_rows, paging[0] * paging[1], sizes.head_dim, sizes.value_dim
        )
        numbers = list(range(paging[2]))
        draw.shuffle(numbers)
        pointers["pages"] = memory.holding(words(numbers))
    params = resolve_params(artifact, {n: x for n, x in SMALL_PARAMS.items() if n in artifact.param_names}, sizes.q_heads)
    values = value_words(artifact, params, sizes.batch, sizes.q_heads, sizes.kv_heads, sizes.head_dim, lengths)
    pointers["lengths"] = memory.holding(words(lengths))
    pointers["values"] = memory.holding(words(values or [0]))

    scalars = scalars_of(artifact, {n: x for n, x in SMALL_PARAMS.items() if n in artifact.param_names})

    def step_of(rule: Mapping[str, Any]) -> Optional[int]:
        return None if rule["step"] is None else size(rule["step"], variables_of(whole, processors), scalars)

    shape = shape_of(variant, whole, processors)
    pointers["counters"] = memory.holding(words([0] * -(-max(4, shape.counters) // 4)))
    pointers["list"] = memory.empty(shape.list)
    pointers["scratch"] = memory.empty(shape.scratch)
    layout = Layout(artifact.record["call"])
    buffer = CallBuffer(layout)
    fill_call(layout, buffer, whole, shape, strides, sizes.head_dim**-0.5, True, paging)
    for name, pointer in pointers.items():
        layout.write(buffer.bytes, name, pointer)
    if artifact.tables:
        held = [memory.holding(table_words(info, whole)) for info in artifact.tables]
        layout.write(buffer.bytes, "tables", *held)

    where = f"{artifact.pattern} {variant['id']}"
    module = d.load(machine_code(artifact, variant, capability), where)
    for entry, grid in zip(variant["entries"], shape.grids):
        if 0 in grid:
            continue
        function = d.function(module, entry["name"], entry["sharedBytes"], where)
        launch = Launch(function, grid, entry["threads"], entry["sharedBytes"], buffer.address, len(entry["tensorMaps"]))
        maps = [
            d.tensor_map(dtype, pointers[r["tensor"]], shapes[r["tensor"]], strides[r["tensor"]], r, where, step_of(r))
            for r in entry["tensorMaps"]
        ]
        for i, made in enumerate(maps):
            launch.set_map(i, made.address)
        d.check(launch.run(d.launch_raw, ctypes.c_void_p(0)), "cuLaunchKernel", where)
        d.check(d.lib.cuCtxSynchronize(), "cuCtxSynchronize", where)
    got = memory.read(pointers["out"], count["out"])
    wrong = sum(abs(x - ONE[dtype]) > NEAR for x in got)
    memory.free()
    said = f"{where}, {sizes.text()}{', paged' if paged else ''}"
    if wrong:
        raise SystemExit(f"{said}: {wrong} of {len(got)} elements are not one")
    print(f"  {said}: fine", flush=True)


def sizes_for(variant: Mapping[str, Any]) -> List[Tuple[Sizes, bool]]:
    """Ends that no tile divides; for few rows against split keys also pages."""
    dims = (variant["headDim"], variant["valueDim"])
    if variant["needs"]["qRows"] is None:
        return [(Sizes(1, 2, 1, 150, 277, *dims), False)]
    split = [(Sizes(2, 4, 2, 1, 1100, *dims), False), (Sizes(1, 4, 1, 5, 300, *dims), False)]
    return [*split, (Sizes(2, 4, 2, 1, 260, *dims), True)] if variant["needs"]["pages"] else split


def main(folder: Path) -> None:
    d = driver()
    d.use_device(0)
    device = ctypes.c_int()
    d.check(d.lib.cuCtxGetDevice(ctypes.byref(device)), "cuCtxGetDevice")

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        d.check(d.lib.cuDeviceGetAttribute(ctypes.byref(value), ctypes.c_int(number), device), "cuDeviceGetAttribute")
        return value.value

    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, .._MINOR, .._MULTIPROCESSOR_COUNT
    capability, processors = 10 * attribute(75) + attribute(76), attribute(16)
    ran = 0
    for file in sorted(folder.glob("*.cuda.json")):
        artifact = read_artifact(file)
        for variant in artifact.variants:
            low, high = variant["capability"]["min"], variant["capability"]["max"]
            if not low <= capability <= high:
                continue
            for sizes, paged in sizes_for(variant):
                run(artifact, variant, sizes, paged, capability, processors)
                ran += 1
    if ran == 0:
        raise SystemExit(f"{folder} holds no kernel for this GPU")
    print(f"{ran} calls ran", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
