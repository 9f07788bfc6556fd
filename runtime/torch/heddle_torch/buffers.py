"""Small device buffers that outlive a call: words by their content, counters by stream. What a captured graph reads is kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Dict, Sequence, Set, Tuple

import torch

from .gpu import gpu

KEPT_WORDS = 2048

_words: "OrderedDict[Tuple[Any, ...], torch.Tensor]" = OrderedDict()
_counters: Dict[Tuple[int, int], torch.Tensor] = {}
_captured: Set[Any] = set()


class Missing(Exception):
    """The buffer would have to be made during a capture, where nothing may be copied from the host."""


def words(device: torch.device, content: Sequence[int]) -> torch.Tensor:
    """An int32 tensor of these words; made by one copy that has ended when this returns, so any stream may read it."""
    key = (device, tuple(content))
    found = _words.get(key)
    if found is None:
        if gpu.capturing():
            raise Missing
        found = torch.tensor(key[1] or (0,), dtype=torch.int32, device=device)
        _words[key] = found
        if len(_words) > KEPT_WORDS:
            _words.popitem(last=False)  # plans that use it hold it too
    else:
        _words.move_to_end(key)
    return found


def counters(device: torch.device, index: int, stream: int, size: int, capturing: bool) -> torch.Tensor:
    """At least `size` bytes that are zero before a kernel, which leaves them so. One buffer a stream: its kernels take turns."""
    if capturing:
        # A graph's own: it may be replayed beside anything, and a replay clears it first.
        return torch.zeros(size, dtype=torch.uint8, device=device)
    found = _counters.get((index, stream))
    if found is None or found.numel() < size:
        found = torch.zeros(max(size, 4096), dtype=torch.uint8, device=device)
        _counters[(index, stream)] = found
    return found


def keep(thing: Any) -> None:
    """A graph holds its addresses from now on."""
    _captured.add(thing)
