"""The CUDA driver through ctypes: modules, functions, tensor maps, launches; a result that is no success becomes an error."""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .errors import HeddleError

OUT_OF_MEMORY = 2
INVALID_CONTEXT = 201
RELAXED_CAPTURE = 2  # CU_STREAM_CAPTURE_MODE_RELAXED
MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
STATIC_SHARED_LIMIT = 48 * 1024
TENSOR_MAP_BYTES = 128
TENSOR_MAP_ALIGN = 64
DATA_TYPES = {"f16": 6, "bf16": 9}
SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}
PROMOTION_256 = 3
KEPT_MAPS = 64
# Tensors that maps are made of, as MapSlot.tensor counts them.
MAPPED = ("q", "k", "v", "out")


class Driver:
    def __init__(self, lib: Optional[Any] = None) -> None:
        self.lib = _open() if lib is None else lib
        self.launch_raw = self.lib.cuLaunchKernel
        self.dead: Dict[int, List[int]] = {}  # by device, allocations that nobody holds any more

    def error_text(self, status: int) -> Tuple[str, str]:
        texts = []
        for f in (self.lib.cuGetErrorName, self.lib.cuGetErrorString):
            text = ctypes.c_char_p()
            f(ctypes.c_int(status), ctypes.byref(text))
            texts.append(text.value.decode() if text.value else f"error {status}")
        return texts[0], texts[1]

    def check(self, status: int, call: str, where: str = "") -> None:
        if status != 0:
            name, text = self.error_text(status)
            raise HeddleError("driver", call=call, name=name, text=text, where=where)

    def use_device(self, index: int) -> None:
        """Makes the device's primary context current, the one that torch works in."""
        self.check(self.lib.cuInit(ctypes.c_uint(0)), "cuInit")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.check(self.lib.cuDeviceGet(ctypes.byref(device), ctypes.c_int(index)), "cuDeviceGet")
        retain = self.lib.cuDevicePrimaryCtxRetain
        self.check(retain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
        self.check(self.lib.cuCtxSetCurrent(context), "cuCtxSetCurrent")

    def load(self, code: bytes, where: str) -> ctypes.c_void_p:
        """A module of the current context. It stays loaded as long as the process runs."""
        module = ctypes.c_void_p()
        image = ctypes.create_string_buffer(code, len(code) + 1)  # PTX ends with a zero
        self.check(self.lib.cuModuleLoadData(ctypes.byref(module), image), "cuModuleLoadData", where)
        return module

    def function(self, module: ctypes.c_void_p, name: str, shared: int, where: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        status = self.lib.cuModuleGetFunction(ctypes.byref(function), module, name.encode())
        self.check(status, f"cuModuleGetFunction of {name}", where)
        if shared > STATIC_SHARED_LIMIT:
            set_attribute = self.lib.cuFuncSetAttribute
            status = set_attribute(function, ctypes.c_int(MAX_DYNAMIC_SHARED), ctypes.c_int(shared))
            self.check(status, f"cuFuncSetAttribute of {name} to {shared} bytes of shared memory", where)
        return function

    def tensor_map(
        self,
        dtype: str,
        pointer: int,
        shape: Sequence[int],
        strides: Sequence[int],
        rule: Dict[str, Any],
        where: str,
        step: Optional[int] = None,
    ) -> "TensorMap":
        """`shape` is [batch, heads, rows, columns], `strides` its first three in elements. With a step, rows are told apart by
        their remainder."""
        made = TensorMap()
        batch, heads, rows, columns = (max(1, n) for n in shape)
        outer = [(heads, strides[1]), (batch, strides[0])]
        inner = [(rows, strides[2])] if step is None else [(max(1, rows // step), step * strides[2]), (step, strides[2])]
        axes = inner + outer
        rank = 1 + len(axes)
        dims = (ctypes.c_uint64 * rank)(columns, *(n for n, _ in axes))
        # A unit dimension's stride means nothing, but must be a multiple of 16 bytes all the same.
        plain = -(-columns // 8) * 16
        bytes_ = (ctypes.c_uint64 * (rank - 1))(*(2 * s if n > 1 else plain for n, s in axes))
        box = (ctypes.c_uint32 * rank)(rule["columns"], rule["rows"], *([1] * (rank - 2)))
        ones = (ctypes.c_uint32 * rank)(*([1] * rank))
        status = self.lib.cuTensorMapEncodeTiled(
            ctypes.c_void_p(made.address),
            ctypes.c_int(DATA_TYPES[dtype]),
            ctypes.c_uint32(rank),
            ctypes.c_void_p(pointer),
            dims,
            bytes_,
            box,
            ones,
            ctypes.c_int(0),
            ctypes.c_int(SWIZZLES[rule["swizzle"]]),
            ctypes.c_int(PROMOTION_256),
            ctypes.c_int(0),
        )
        self.check(status, f"cuTensorMapEncodeTiled of {rule['tensor']}", where)
        return made


class TensorMap:
    """128 bytes at a multiple of 64, as the driver wants them."""

    def __init__(self) -> None:
        self.memory = ctypes.create_string_buffer(TENSOR_MAP_BYTES + TENSOR_MAP_ALIGN)
        self.address = -(-ctypes.addressof(self.memory) // TENSOR_MAP_ALIGN) * TENSOR_MAP_ALIGN


class Launch:
    """One kernel launch whose arguments stay where they are: pointers to them are made once, the arguments patched."""

    def __init__(
        self, function: ctypes.c_void_p, grid: Tuple[int, int, int], threads: int, shared: int, call: int, maps: int
    ) -> None:
        self.maps = (ctypes.c_void_p * (1 + maps))(call)
        sizes = [ctypes.c_uint(n) for n in (*grid, threads, 1, 1, shared)]
        self._before = (function, *sizes)
        self._after = (self.maps, None)

    def set_map(self, index: int, address: int) -> None:
        self.maps[1 + index] = address

    def run(self, launch: Any, stream: ctypes.c_void_p) -> int:
        return launch(*self._before, stream, *self._after)


class MapSlot:
    """A tensor map of one launch, made anew only for a pointer that was not seen lately."""

    def __init__(
        self,
        launch: Launch,
        index: int,
        dtype: str,
        shape: Sequence[int],
        strides: Sequence[int],
        rule: Any,
        step: Optional[int] = None,
    ) -> None:
        self.tensor = MAPPED.index(rule["tensor"])
        self.pointer = -1  # what the launch's map is of now
        self._launch, self._index = launch, index
        self._about = (dtype, shape, strides, rule, step)
        self._known: Dict[int, TensorMap] = {}

    def point(self, pointer: int, where: str) -> None:
        found = self._known.get(pointer)
        if found is None:
            dtype, shape, strides, rule, step = self._about
            found = driver().tensor_map(dtype, pointer, shape, strides, rule, where, step)
            if len(self._known) >= KEPT_MAPS:
                self._known.clear()
            self._known[pointer] = found
        self._launch.set_map(self._index, found.address)
        self.pointer = pointer


def _open() -> Any:
    tried = []
    for name in ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so"):
        try:
            return ctypes.CDLL(name)
        except OSError as e:
            tried.append(str(e))
    raise HeddleError("no-driver", detail="; ".join(tried))


_lock = threading.Lock()
_driver: Optional[Driver] = None


def driver() -> Driver:
    """The one driver of this process, opened when first asked for."""
    global _driver
    if _driver is None:
        with _lock:
            if _driver is None:
                _driver = Driver()
    return _driver
