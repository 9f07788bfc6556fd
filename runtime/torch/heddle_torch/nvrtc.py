"""The library NVRTC through ctypes: found on this machine; text and an architecture in, machine code and a log out."""

from __future__ import annotations

import ctypes
import ctypes.util
import glob
import importlib.util
import os
import sys
import threading
from typing import List, Optional, Tuple


class NvrtcMissing(Exception):
    """No library was found, or none of those found opens; the text says which were tried."""


def candidates() -> List[str]:
    """Paths and names to try, best first: the one named by HEDDLE_NVRTC, those that came with torch, the system's."""
    found: List[str] = []
    given = os.environ.get("HEDDLE_NVRTC")
    if given is not None:
        return [given]
    pattern = "nvrtc64_*.dll" if sys.platform == "win32" else "libnvrtc.so*"
    folders: List[str] = []
    for package in ("nvidia", "torch"):
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        for place in (spec.submodule_search_locations or []) if spec else []:
            folders += [os.path.join(place, "lib"), os.path.join(place, "*", "lib"), os.path.join(place, "*", "bin", "*")]
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if home:
            folders += [os.path.join(home, "lib64"), os.path.join(home, "targets", "*", "lib"), os.path.join(home, "bin")]
    for folder in folders:
        paths = sorted(glob.glob(os.path.join(folder, pattern)), reverse=True)
        found += [p for p in paths if ".alt" not in p and "builtins" not in p and p not in found]
    by_name = ctypes.util.find_library("nvrtc")
    return found + ([by_name] if by_name else []) + ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]


class Nvrtc:
    def __init__(self) -> None:
        tried: List[str] = []
        for path in candidates():
            try:
                # NVRTC opens its builtins by name alone: once loaded they are found wherever they lie.
                for builtins in glob.glob(os.path.join(os.path.dirname(path), "libnvrtc-builtins.so.*")) if os.path.isabs(path) else ():
                    ctypes.CDLL(builtins)
                self.lib = ctypes.CDLL(path)
                break
            except OSError as e:
                tried.append(f"{path} ({e})" if os.path.isabs(path) else path)
        else:
            raise NvrtcMissing(f"tried {', '.join(tried)}; install nvidia-cuda-nvrtc or set HEDDLE_NVRTC to the library")
        self.path = path
        self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self.lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = (major.value, minor.value)

    def _check(self, status: int) -> None:
        if status != 0:
            raise NvrtcFailed(self._text(status), "")

    def _text(self, status: int) -> str:
        return self.lib.nvrtcGetErrorString(status).decode()

    def architectures(self) -> List[int]:
        """Compute capabilities, times ten, that this version compiles for."""
        count = ctypes.c_int()
        self._check(self.lib.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        values = (ctypes.c_int * count.value)()
        self._check(self.lib.nvrtcGetSupportedArchs(values))
        return sorted(values)

    def compile(self, text: str, name: str, options: Tuple[str, ...], ptx: bool = False) -> bytes:
        """Machine code (or PTX) of a text; raises NvrtcFailed with the log."""
        program = ctypes.c_void_p()
        source = text.encode()
        create = self.lib.nvrtcCreateProgram
        self._check(create(ctypes.byref(program), source, name.encode(), 0, None, None))
        try:
            flags = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            status = self.lib.nvrtcCompileProgram(program, len(options), flags)
            if status != 0:
                log = self._read(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
                raise NvrtcFailed(self._text(status), log)
            return self._read(program, "PTX" if ptx else "CUBIN")
        finally:
            self.lib.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self.lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(max(1, size.value))
        self._check(getattr(self.lib, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw[: size.value]


class NvrtcFailed(Exception):
    """The library's status, and its log where there is one."""

    def __init__(self, status: str, log: str) -> None:
        super().__init__(status)
        self.status = status
        self.log = log


_lock = threading.Lock()
_opened: Optional[Nvrtc] = None


def nvrtc() -> Nvrtc:
    """The one library of this process, opened when first asked for."""
    global _opened
    with _lock:
        if _opened is None:
            _opened = Nvrtc()
        return _opened
