"""What this package asks of torch about devices and streams, in one place, so that tests can stand in for a GPU."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ContextManager, Tuple

import torch

# Of a block, by capability, where torch does not say.
SHARED = {80: 163 * 1024, 87: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024, 103: 227 * 1024}


class Gpu:
    """Torch's CUDA devices. The functions that a call uses each time go past torch.cuda's checks: a CUDA tensor is at hand."""

    kind = "cuda"

    def current(self) -> int:
        return torch._C._cuda_getDevice()

    def stream(self, index: int) -> int:
        """The handle of torch's current stream of a device."""
        return torch._C._cuda_getCurrentRawStream(index)

    def capturing(self) -> bool:
        return torch._C._cuda_isCurrentStreamCapturing()

    def guard(self, index: int) -> ContextManager[Any]:
        return torch.cuda.device(index)

    @lru_cache(maxsize=None)
    def properties(self, index: int) -> Tuple[int, int, int]:
        """Compute capability times ten, the number of multiprocessors, and bytes of shared memory that a block may have."""
        p = torch.cuda.get_device_properties(index)
        capability = p.major * 10 + p.minor
        shared = getattr(p, "shared_memory_per_block_optin", None) or SHARED.get(capability, 99 * 1024)
        return capability, p.multi_processor_count, shared


gpu = Gpu()
