"""What is kept on a device from call to call: out of the driver's memory, freed late and together."""

from __future__ import annotations

import struct
import unittest
from unittest import mock

from handmade import variant
from on_cpu import OnCpu

import heddle_torch as ht
from heddle_torch import buffers, memory
from heddle_torch.gpu import gpu


class Kept(OnCpu):
    def test_kept_memory_is_not_of_torch(self):
        p = self.load(variants=[variant("v", workspace={"counters": 64, "list": 0, "scratch": 0})])
        q, k, v = self.qkv()
        ht.attention(q, k, v, p, window=5)
        call = self.library.launches[-1]["call"]
        held = self.library.memory
        self.assertEqual(bytes(held[call.lengths]), struct.pack("<10i", *[0, 4, 9, 0, 13] * 2))
        self.assertEqual(bytes(held[call.values]), struct.pack("<i", 5))
        self.assertEqual(bytes(held[call.counters]), bytes(buffers.LEAST_COUNTERS))
        self.assertEqual(len(held), 3)

    def test_memory_is_freed_together_and_later(self):
        made = [memory.Memory(0, bytes([i])) for i in range(memory.FREED_TOGETHER)]
        del made[1:]
        memory.Memory(0, b"one more dies")
        self.assertEqual(len(self.library.memory), memory.FREED_TOGETHER + 1)
        kept = memory.Memory(0, b"kept")
        self.assertEqual({bytes(m) for m in self.library.memory.values()}, {b"\0", b"kept"})
        self.assertEqual(bytes(self.library.memory[kept.pointer]), b"kept")

    def test_memory_that_torch_holds_is_asked_back(self):
        self.library.fail["cuMemAlloc"] = 2
        with mock.patch.object(gpu, "release_cached") as release:
            memory.Memory(0, b"x")
        self.assertEqual(release.call_count, 1)
        self.library.fail["cuMemAlloc"] = 700
        self.assertIn("cuMemAlloc of 1 bytes", self.raises("driver", memory.Memory, 0, b"x"))


if __name__ == "__main__":
    unittest.main()
