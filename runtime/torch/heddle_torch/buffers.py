"""Small device buffers that outlive a call: words by their content, counters by stream. What a captured graph reads is kept."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from typing import Any, Dict, Sequence, Set, Tuple

from .gpu import gpu
from .memory import Memory

KEPT_WORDS = 2048
LEAST_COUNTERS = 4096

_words: "OrderedDict[Tuple[int, Tuple[int, ...]], Memory]" = OrderedDict()
_words_lock = threading.Lock()
_counters: Dict[Tuple[int, int], Memory] = {}
_captured: Set[Any] = set()


class Missing(Exception):
    """The buffer would have to be made during a capture, where nothing may be copied from the host."""


def words(index: int, content: Sequence[int]) -> Memory:
    """These int32 words on a device."""
    key = (index, tuple(content))
    with _words_lock:
        found = _words.get(key)
        if found is None:
            if gpu.capturing():
                raise Missing
            found = _words[key] = Memory(index, struct.pack(f"<{len(key[1])}i", *key[1]) or bytes(4))
            if len(_words) > KEPT_WORDS:
                _words.popitem(last=False)  # plans that use it hold it too
        else:
            _words.move_to_end(key)
        return found


def counters(index: int, stream: int, size: int) -> Memory:
    """At least `size` bytes that are zero before a kernel, which leaves them so. One buffer a stream: its kernels take turns."""
    found = _counters.get((index, stream))
    if found is None or found.size < size:
        found = _counters[(index, stream)] = Memory(index, bytes(max(size, LEAST_COUNTERS)))
    return found


def keep(thing: Any) -> None:
    """A graph holds its addresses from now on."""
    _captured.add(thing)
