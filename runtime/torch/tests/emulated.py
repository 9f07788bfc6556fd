"""A stand-in for the CUDA driver that runs the kernels' own texts on the CPU, compiled behind the emulation's headers.

use() points the package at it: CPU tensors, the same plans and launches. For numerics without a GPU, slow.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any, List, Tuple

from fake_gpu import FakeLibrary

from heddle_torch.driver import SWIZZLES, TENSOR_MAP_BYTES
from heddle_torch.gpu import SHARED

MAP_MAGIC = 0x70614D726F736E54
HEADERS = Path(__file__).resolve().parents[2] / "cuda" / "emulation"
FLAGS = ["-std=c++17", "-O2", "-Wno-psabi", "-x", "c++", "-DHEDDLE_EMULATED", "-shared", "-fPIC", "-pthread", "-Wl,-Bsymbolic", "-Wl,-z,nodelete"]


def build(artifact: Any, variant: Any, *args: Any, **named: Any) -> bytes:
    """In place of machine code: the path of a shared library."""
    folder = Path(os.environ.get("HEDDLE_CACHE_DIR", tempfile.gettempdir())) / "heddle-emulated"
    folder.mkdir(parents=True, exist_ok=True)
    headers = b"".join(p.read_bytes() for p in sorted(HEADERS.glob("*.h")))
    digest = hashlib.sha256(headers + variant["code"].encode()).hexdigest()[:24]
    made = folder / f"{artifact.pattern}.{variant['id']}-{digest}.so"
    if not made.exists():
        source = made.with_suffix(".cu")
        source.write_text(variant["code"])
        compiler = shlex.split(os.environ.get("CXX", "g++"))
        partial = made.with_suffix(f".{os.getpid()}")
        subprocess.run([*compiler, *FLAGS, "-include", str(HEADERS / "emulation.h"), str(source), "-o", str(partial)], check=True)
        partial.rename(made)
    return str(made).encode()


class EmulatedLibrary(FakeLibrary):
    def __init__(self) -> None:
        super().__init__()
        self._modules: List[ctypes.CDLL] = []
        self._entries: List[Tuple[ctypes.CDLL, bytes]] = []

    def cuModuleLoadData(self, module: Any, image: Any) -> int:
        self._modules.append(ctypes.CDLL(image.value.decode()))
        module._obj.value = len(self._modules)
        return 0

    def cuModuleGetFunction(self, function: Any, module: Any, name: bytes) -> int:
        library = self._modules[module.value - 1]
        if not library.heddle_has_entry(name):
            return 500
        self._entries.append((library, name))
        function._obj.value = len(self._entries)
        return 0

    def cuLaunchKernel(self, function: Any, *args: Any) -> int:
        *sizes, stream, params, _ = args
        library, name = self._entries[function.value - 1]
        x, y, z, threads, _, _, shared = (s.value for s in sizes)
        error = ctypes.create_string_buffer(4096)
        # Its struct, and the tensor maps one behind the other.
        given = ctypes.string_at(params[0], library.heddle_parameter_bytes())
        given += b"".join(ctypes.string_at(at, TENSOR_MAP_BYTES) for at in params[1:])
        size = ctypes.c_size_t(len(error))
        status = library.heddle_launch(name, x, y, z, threads, shared, given, len(given), error, size)
        if status != 0:
            raise AssertionError(error.value.decode())
        return 0


    def cuTensorMapEncodeTiled(
        self, out: Any, kind: Any, rank: Any, pointer: Any, dims: Any, strides: Any, box: Any, ones: Any, interleave: Any, swizzle: Any, *_: Any
    ) -> int:
        """As runtime/cuda/emulation/maps.ts writes it, for boxes.h to read."""
        padded = lambda xs, count: [*xs, *([0] * count)][:count]
        bytes_of = {code: n for n, code in SWIZZLES.items()}[swizzle.value]
        words = (MAP_MAGIC, pointer.value, *padded(dims, 5), *padded(strides, 4))
        made = struct.pack("<11Q4I", *words, box[0], box[1], bytes_of, rank.value)
        ctypes.memmove(out.value, made.ljust(TENSOR_MAP_BYTES, b"\0"), TENSOR_MAP_BYTES)
        return 0


def use() -> None:
    """From here on the package's GPU is the emulation, of capability 8.0, or of what HEDDLE_EMULATED says: 90."""
    from heddle_torch import driver, modules
    from heddle_torch.gpu import gpu

    gpu.kind = "cpu"
    gpu.current = lambda: 0
    gpu.stream = lambda index: 0
    gpu.capturing = lambda: False
    capability = 90 if os.environ.get("HEDDLE_EMULATED") == "90" else 80
    gpu.properties = lambda index: (capability, 8, SHARED[capability])
    modules.machine_code = build
    driver._driver = driver.Driver(EmulatedLibrary())
