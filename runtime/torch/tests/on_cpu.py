"""A test case of the torch side without a GPU: CPU tensors and a stand-in for the driver. Skipped where there is no torch."""

from __future__ import annotations

import math
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from handmade import manifest, write

try:
    import torch
except ImportError as e:
    raise unittest.SkipTest("torch is not installed") from e

from fake_gpu import FakeLibrary

import heddle_torch as ht
from heddle_torch import buffers, driver, modules
from heddle_torch.gpu import gpu


def dense(q, k, v, window, scale=None, rows=None):
    """Causal window by torch in f64."""
    group = q.shape[1] // k.shape[1]
    k, v = (t.double().repeat_interleave(group, 1) for t in (k, v))
    at = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2]
    j = torch.arange(k.shape[2])[None]
    s = q.double() @ k.mT * (q.shape[3] ** -0.5 if scale is None else scale)
    s = s.masked_fill(~((j <= at) & (at - j < window)), -math.inf)
    return torch.softmax(s, -1).nan_to_num() @ v, torch.logsumexp(s, -1)


class OnCpu(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.library = FakeLibrary()
        self.capturing = False
        fakes = {
            "kind": "cpu",
            "current": lambda: 0,
            "stream": lambda index: 7,
            "capturing": lambda: self.capturing,
            "properties": lambda index: (90, 132, 232448),
        }
        for target, name, value in [
            *((gpu, n, f) for n, f in fakes.items()),
            (driver, "_driver", driver.Driver(self.library)),
            (modules, "machine_code", lambda artifact, text, *a, **b: text["code"].encode()),
        ]:
            patch = mock.patch.object(target, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.addCleanup(lambda: (buffers._words.clear(), buffers._counters.clear(), buffers._captured.clear()))

    def load(self, **changes):
        # Another text each time, so that no two tests share an op.
        name = "-".join(self.id().lower().rsplit(".", 2)[1:]).replace("_", "-").replace("test-", "")
        return ht.load(write(Path(self.folder.name), manifest(**{"pattern": name, **changes})))

    def qkv(self, batch=2, q_heads=4, kv_heads=2, rows=9, kv=13, dim=16, value=16, seed=0):
        g = torch.Generator().manual_seed(seed)
        make = lambda *shape: torch.randn(*shape, generator=g).half()
        return make(batch, q_heads, rows, dim), make(batch, kv_heads, kv, dim), make(batch, kv_heads, kv, value)

    def assert_close(self, got, expected):
        for a, b in zip(got, expected):
            torch.testing.assert_close(a.double(), b.double(), atol=2e-3, rtol=2e-3)

    def raises(self, code, f, *args, **named):
        with self.assertRaises(ht.HeddleError) as caught:
            f(*args, **named)
        self.assertEqual(caught.exception.code, code)
        return str(caught.exception)
