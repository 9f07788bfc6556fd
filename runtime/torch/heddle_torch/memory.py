"""Bytes in, a copy of them on a device out: memory of the driver, which is never part of a pool of torch's allocator.

While a CUDA graph is prepared (by torch.compile's "reduce-overhead", for one) torch allocates out of the graph's own pool, where
nothing may outlive a call. What is kept from call to call therefore lies here.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import Iterator

from .driver import OUT_OF_MEMORY, RELAXED_CAPTURE, Driver, driver
from .gpu import gpu

# Freeing waits for the device, so it is done for many at once.
FREED_TOGETHER = 64
_freeing = threading.Lock()


@contextmanager
def _beside_captures(d: Driver) -> Iterator[None]:
    """Another thread may be capturing a graph, which by default forbids every thread to allocate."""
    mode = ctypes.c_int(RELAXED_CAPTURE)
    exchange = d.lib.cuThreadExchangeStreamCaptureMode
    d.check(exchange(ctypes.byref(mode)), "cuThreadExchangeStreamCaptureMode")
    try:
        yield
    finally:
        exchange(ctypes.byref(mode))


class Memory:
    """Any stream may read it: the copy has ended when this is made. Not to be made while this thread captures a graph."""

    def __init__(self, index: int, content: bytes) -> None:
        self.pointer = 0
        self.size = len(content)
        d = self._driver = driver()
        d.use_device(index)
        self._dead = d.dead.setdefault(index, [])
        with _beside_captures(d):
            with _freeing:
                if len(self._dead) >= FREED_TOGETHER:
                    while self._dead:
                        d.check(d.lib.cuMemFree_v2(ctypes.c_uint64(self._dead.pop())), "cuMemFree")
            pointer, size = ctypes.c_uint64(), ctypes.c_size_t(self.size)
            status = d.lib.cuMemAlloc_v2(ctypes.byref(pointer), size)
            if status == OUT_OF_MEMORY:
                gpu.release_cached()
                status = d.lib.cuMemAlloc_v2(ctypes.byref(pointer), size)
            d.check(status, f"cuMemAlloc of {self.size} bytes")
            self.pointer = pointer.value
            stream = ctypes.c_void_p(gpu.stream(index))
            # Of pageable memory a copy may still be under way when the call returns.
            d.check(d.lib.cuMemcpyHtoDAsync_v2(pointer, content, size, stream), "cuMemcpyHtoDAsync")
            d.check(d.lib.cuStreamSynchronize(stream), "cuStreamSynchronize")

    def __del__(self) -> None:
        # Not freed here: that could happen at any time, during a capture too, where it is forbidden.
        if self.pointer:
            self._dead.append(self.pointer)
