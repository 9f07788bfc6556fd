"""What this package asks of torch about devices and streams, in one place, so that tests can stand in for a GPU."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, ContextManager, Tuple

import torch

# Of a block, by capability, where torch does not say.
SHARED = {80: 163 * 1024, 87: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024, 103: 227 * 1024}


class Gpu:
    """Torch's CUDA devices. What a call uses each time goes past torch.cuda's checks: a CUDA tensor is at hand."""

    kind = "cuda"

    # A torch built without CUDA has none of these; other tensors than CUDA's are refused soon after they are asked.
    current: Callable[[], int] = getattr(torch._C, "_cuda_getDevice", int)
    # The handle of torch's current stream of a device.
    stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream", int)
    capturing: Callable[[], bool] = getattr(torch._C, "_cuda_isCurrentStreamCapturing", bool)

    def empty_strided(self) -> Callable[[Tuple[int, ...], Tuple[int, ...], torch.dtype], torch.Tensor]:
        """A function of shape, strides and dtype that makes a tensor on the current device: inductor's, where torch has it."""
        quick = getattr(torch._C._dynamo.guards, f"_empty_strided_{self.kind}", None)
        kind = self.kind
        return quick or (lambda shape, strides, dtype: torch.empty_strided(shape, strides, dtype=dtype, device=kind))

    def release_cached(self) -> None:
        """Memory that torch holds for later goes back to the driver."""
        if self.kind == "cuda":
            torch.cuda.empty_cache()

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
