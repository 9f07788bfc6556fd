"""A stand-in for the CUDA driver that computes a causal window on the CPU, out of nothing but the arguments of a launch."""

from __future__ import annotations

import ctypes
import math
import struct
import types
from typing import Any, Dict, List, Tuple

import numpy as np
from handmade import FIELDS, PROGRAM_DIM, STAGE_FIELDS

CTYPES = {"pointer": ctypes.c_uint64, "i64": ctypes.c_int64, "i32": ctypes.c_int32, "f32": ctypes.c_float}


STAGE_FORMAT = "<" + "".join("f" if name == "scale" else "i" for name in STAGE_FIELDS)


class Call(ctypes.Structure):
    _fields_ = [(name, CTYPES[kind] * count if count > 1 else CTYPES[kind]) for name, kind, count in FIELDS]


def array(pointer: int, shape: Any, strides: Any, dtype: Any) -> np.ndarray:
    """A view of memory by strides in elements."""
    item = np.dtype(dtype).itemsize
    extent = sum((n - 1) * s for n, s in zip(shape, strides)) + 1
    memory = (ctypes.c_char * (extent * item)).from_address(pointer)
    flat = np.frombuffer(memory, dtype=dtype)
    return np.lib.stride_tricks.as_strided(flat, shape, [s * item for s in strides])


class FakeLibrary:
    """Functions of libcuda as the package calls them."""

    def __init__(self) -> None:
        self.launches: List[Dict[str, Any]] = []
        self.maps: List[Dict[str, Any]] = []
        self.modules: List[bytes] = []
        self.functions: List[Tuple[bytes, str]] = []  # text and entry
        self.fail: Dict[str, int] = {}
        self.memory: Dict[int, Any] = {}

    def _status(self, name: str) -> int:
        return self.fail.pop(name, 0)

    def cuInit(self, flags: Any) -> int:
        return 0

    def cuDeviceGet(self, device: Any, index: Any) -> int:
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0

    def cuThreadExchangeStreamCaptureMode(self, mode: Any) -> int:
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        status = self._status("cuMemAlloc")
        if status == 0:
            made = ctypes.create_string_buffer(size.value)
            pointer._obj.value = ctypes.addressof(made)
            self.memory[pointer._obj.value] = made
        return status

    def cuMemFree_v2(self, pointer: Any) -> int:
        del self.memory[pointer.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, to: Any, content: bytes, size: Any, stream: Any) -> int:
        ctypes.memmove(self.memory[to.value], content, size.value)
        return 0

    def cuMemcpyDtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:
        ctypes.memmove(to.value, source.value, size.value)
        self.launches.append({"name": "copy", "to": to.value, "bytes": ctypes.string_at(to.value, size.value)})
        return self._status("cuMemcpyDtoDAsync")

    def cuStreamSynchronize(self, stream: Any) -> int:
        return 0

    def cuGetErrorName(self, status: Any, text: Any) -> int:
        text._obj.value = b"CUDA_ERROR_MADE_UP"
        return 0

    def cuGetErrorString(self, status: Any, text: Any) -> int:
        text._obj.value = b"as the test wanted"
        return 0

    def cuModuleLoadData(self, module: Any, image: Any) -> int:
        self.modules.append(image.value)
        module._obj.value = len(self.modules)
        return self._status("cuModuleLoadData")

    def cuModuleGetFunction(self, function: Any, module: Any, name: bytes) -> int:
        self.functions.append((self.modules[module.value - 1], name.decode()))
        function._obj.value = len(self.functions)
        return 0

    def cuFuncSetAttribute(self, function: Any, attribute: Any, value: Any) -> int:
        return 0

    def cuTensorMapEncodeTiled(self, out: Any, kind: Any, rank: Any, pointer: Any, dims: Any, strides: Any, box: Any, *rest: Any) -> int:
        self.maps.append({"pointer": pointer.value, "dims": list(dims), "strides": list(strides), "box": list(box)})
        return self._status("cuTensorMapEncodeTiled")

    def cuLaunchKernel(self, function: Any, *args: Any) -> int:
        status = self._status("cuLaunchKernel")
        if status:
            return status
        *sizes, stream, params, _ = args
        text, name = self.functions[function.value - 1]
        if name == "launch":
            return self.launch_stage(text, [s.value for s in sizes[:3]], params[0])
        call = Call.from_buffer_copy((ctypes.c_char * ctypes.sizeof(Call)).from_address(params[0]))
        self.launches.append({"name": name, "grid": [s.value for s in sizes[:3]], "call": call})
        if name == "attend":
            attend(call)
        return 0

    def launch_stage(self, text: bytes, grid: List[int], block: int) -> int:
        """A kernel of handmade.program: each says its name, and one attends."""
        fields = dict(zip(STAGE_FIELDS, struct.unpack_from(STAGE_FORMAT, ctypes.string_at(block, 4 * len(STAGE_FIELDS)))))
        buffers = struct.unpack_from("<14Q", ctypes.string_at(block + 4 * len(STAGE_FIELDS), 14 * 8))
        self.launches.append({"name": text.decode(), "grid": grid, "fields": fields, "addresses": buffers[::2], "words": buffers[1::2]})
        if text == b"attend all":
            names = dict(zip(("q", "k", "v", "out", "lse", "lengths"), buffers[::2]))
            strides = {f"{n}Stride": [fields[f"{n}{axis}Stride"] for axis in ("Batch", "Head", "Row")] for n in ("q", "k", "v", "out")}
            window = ctypes.c_int32(fields["window"])
            dims = {"batch": fields["batches"], "headDim": PROGRAM_DIM, "valueDim": PROGRAM_DIM}
            attend(types.SimpleNamespace(**fields, **names, **strides, **dims, values=ctypes.addressof(window)))
        return 0


def attend(c: Any) -> None:
    shapes = {"q": (c.qRows, c.headDim), "k": (c.kvRows, c.headDim), "v": (c.kvRows, c.valueDim), "out": (c.qRows, c.valueDim)}
    lse = array(c.lse, (c.batch, c.qHeads, c.qRows), (c.qHeads * c.qRows, c.qRows, 1), np.float32)
    rows = array(c.lengths, (c.batch, 5), (5, 1), np.int32)
    window = array(c.values, (1,), (1,), np.int32)[0]
    for b in range(c.batch):
        q_row, q_start, q_len, kv_start, kv_len = rows[b]
        for h in range(c.qHeads):

            def view(name: str, head: int) -> np.ndarray:
                sb, sh, sr = getattr(c, f"{name}Stride")
                start = getattr(c, name) + 2 * (b * sb + head * sh)
                return array(start, shapes[name], (sr, 1), np.float16)

            g = h // (c.qHeads // c.kvHeads)
            q, out = view("q", h).astype(np.float64), view("out", h)
            out[:] = 0
            lse[b, h] = -math.inf
            if kv_len == 0:
                continue
            k, v = (view(n, g)[kv_start : kv_start + kv_len].astype(np.float64) for n in ("k", "v"))
            for r in range(q_row, q_row + q_len):
                at = q_start + r - q_row
                keys = [j for j in range(kv_len) if j <= at < j + window]
                if keys:
                    s = c.scale * (k[keys] @ q[r])
                    top = s.max()
                    p = np.exp(s - top)
                    out[r] = (p @ v[keys]) / p.sum()
                    lse[b, h, r] = top + math.log(p.sum())
