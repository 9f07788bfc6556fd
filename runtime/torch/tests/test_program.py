"""Programs of several kernels without a GPU: their launches, arguments and memory, lengths, and what is refused."""

from __future__ import annotations

import hashlib
import math
import struct
import unittest
from unittest import mock

from handmade import op, program, stage_kernel, var
from on_cpu import OnCpu, dense, torch

import heddle_torch as ht


class Programs(OnCpu):
    def loaded(self, **changes):
        more = {n: changes.pop(n) for n in ("tables", "params", "rows") if n in changes}
        made = program(**changes)
        made["stages"]["rows"] = more.pop("rows", [])
        return self.load(**made, **more)

    def names(self):
        return [launch["name"] for launch in self.library.launches]

    def test_launches(self):
        p = self.loaded()
        q, k, v = self.qkv()
        self.assert_close(ht.attention(q, k, v, p, return_lse=True, window=5), dense(q, k, v, 5))
        self.assertEqual(self.names(), ["copy", "choose", "choose", "choose", "attend all"])
        copy, first, second, last, attend = self.library.launches
        self.assertEqual(struct.unpack("<4i", copy["bytes"]), (9, 0, 0, 0))
        stretches = [(c["fields"]["unitBase"], c["fields"]["unitCount"], c["grid"]) for c in (first, second, last)]
        self.assertEqual(stretches, [(0, 4, [32, 1, 1]), (4, 4, [32, 1, 1]), (8, 1, [8, 1, 1])])
        self.assertEqual(attend["addresses"][6], copy["to"])
        self.assertEqual(attend["words"], (2 * 4 * 9 * 8, 2 * 2 * 13 * 8, 2 * 2 * 13 * 8, 2 * 4 * 9 * 8, 2 * 4 * 9, 10, 4 * 9 * 5))
        self.assertEqual(attend["fields"]["window"], 5)

    def test_strides_and_repeated_calls(self):
        p = self.loaded()
        for seed in range(3):
            q, k, v = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in self.qkv(seed=seed)]
            out, lse = ht.attention(q, k, v, p, return_lse=True)
            self.assertTrue(out.transpose(1, 2).is_contiguous())
            self.assert_close((out, lse), dense(q, k, v, 16))
        self.assertEqual(len(p.runner._plans), 1)

    def test_steps_that_do_not_run(self):
        never = {"kind": "once", "kernel": stage_kernel("never", when=op("lt", {"param": "window"}, 3))}
        steps = [never, {"kind": "once", "kernel": stage_kernel("attend all")}]
        p = self.loaded(steps=steps)
        q, k, v = self.qkv()
        ht.attention(q, k, v, p)
        self.assertEqual(self.names(), ["copy", "attend all"])
        ht.attention(q, k, v, p, window=2)
        self.assertEqual(self.names()[2:], ["copy", "never", "attend all"])

    def test_lengths(self):
        p = self.loaded()
        q, k, v = self.qkv(rows=13)
        rows = [{"qRow": 4, "kvStart": 4}, {"qLen": 9, "kvLen": 9}]
        out, lse = ht.attention(q, k, v, p, return_lse=True, lengths=rows, window=5)
        self.assert_close((out[:1, :, 4:], lse[:1, :, 4:]), dense(q[:1, :, 4:], k[:1, :, 4:], v[:1, :, 4:], 5))
        self.assert_close((out[1:, :, :9], lse[1:, :, :9]), dense(q[1:, :, :9], k[1:, :, :9], v[1:, :, :9], 5))
        self.assertTrue((out[0, :, :4] == 0).all() and (lse[1, :, 9:] == -math.inf).all())
        launches = len(self.library.launches)
        ht.attention(q, k, v, p, lengths=[{}, {}])  # all is real: one call
        self.assertEqual(len(self.library.launches), launches + 6)
        self.raises("program-start", ht.attention, q, k, v, p, lengths=[{"qStart": 3}, {}])
        self.raises("program-lengths", ht.attention, q, k, v, p, lengths=torch.zeros(2, 5, dtype=torch.int32))

    def test_rows_and_tables(self):
        rows = [
            {"name": "qIndex", "side": "q", "share": "indexHead", "grain": "token"},
            {"name": "kIndex", "side": "kv", "share": "request", "grain": "token"},
        ]
        weight = {"name": "weight", "type": "f32", "dims": ["batch", "qLen", "indexHead"], "min": None, "max": None, "monotone": False}
        buffers = [*stage_kernel("x")["buffers"][:4], {"role": "rows", "name": "qIndex"}, {"role": "rows", "name": "kIndex"}]
        buffers.append({"role": "table", "name": "weight"})
        index = stage_kernel("index", buffers=buffers)
        stored = [{"name": "ids", "words": op("mul", var("indexHeads"), {"param": "qIndex.channels"}), "units": None}]
        steps = [{"kind": "once", "kernel": index}, {"kind": "once", "kernel": stage_kernel("attend all")}]
        p = self.loaded(rows=rows, tables=[weight], stored=stored, steps=steps)
        q, k, v = self.qkv()
        given = {"qIndex": torch.randn(2, 3, 9, 8), "kIndex": torch.randn(2, 1, 13, 8), "weight": torch.randn(2, 9, 3)}
        ht.attention(q, k, v, p, **given)
        index, attend = self.library.launches
        self.assertEqual(index["addresses"][4:], tuple(given[n].data_ptr() for n in ("qIndex", "kIndex", "weight")))
        self.assertEqual((index["words"][4:], attend["words"][6]), ((432, 208, 54), 24))
        self.assertEqual(index["fields"]["indexHeads"], 3)
        ht.attention(q, k, v, p, **given, lengths=[{}, {"kvStart": 2, "qRow": 1}])
        self.assertEqual(self.library.launches[4]["words"][4:], (192, 88, 24))
        self.raises("table-missing", ht.attention, q, k, v, p, **{**given, "kIndex": None})
        self.raises("shape", ht.attention, q, k, v, p, **{**given, "kIndex": given["qIndex"]})
        self.raises("dtype", ht.attention, q, k, v, p, **{**given, "qIndex": given["qIndex"].half()})
        self.raises("shape", ht.attention, q, k, v, p, **{**given, "weight": given["weight"][:, :, :2]})

    def test_forms(self):
        """What the call's sizes and the device take, where everything lies in vectors, rows too: their addresses tell plans apart."""
        rows = [{"name": "kIndex", "side": "kv", "share": "request", "grain": "token"}]
        text = hashlib.sha256(b"in form").hexdigest()
        form = {"vectors": True, "suffix": "a", "threads": 64, "sharedBytes": 0, "tile": {"q": 4, "kv": 8}}
        form = {**form, "id": "wide", "when": None, "capability": {"min": 90, "max": 90}, "code": "in form", "hash": text, "cubins": []}
        grid = {**stage_kernel("x")["grid"], "inner": var("kvLen"), "tile": 16}
        later = {**form, "id": "later", "capability": {"min": 100, "max": 100}}
        shorter = {**form, "id": "shorter", "when": op("le", var("kvLen"), 12)}
        steps = [{"kind": "once", "kernel": stage_kernel("plain", grid=grid, forms=[later, shorter, form])}]
        p = self.loaded(rows=rows, steps=steps)
        q, k, v = self.qkv()
        index = torch.randn(2, 1, 13, 8)
        odd = torch.cat([torch.zeros(1), index.flatten()])[1:].view(index.shape)
        for given in (index, odd, index):
            ht.attention(q, k, v, p, kIndex=given)
        launches = [x for x in self.library.launches if x["name"] != "copy"]
        self.assertEqual([(x["name"], x["grid"][0]) for x in launches], [("in form", 8 * 3 * 2), ("plain", 8), ("in form", 8 * 3 * 2)])

    def test_refused(self):
        p = self.loaded()
        q, k, v = self.qkv()
        self.raises("program-state", ht.State.like, p, q, k)
        self.raises("program-pages", ht.attention, q, k, v, p, pages=torch.zeros(2, 1, dtype=torch.int32))
        self.raises("lists", ht.attention, q, k, v, p, lists=torch.zeros(4, dtype=torch.int32))
        self.raises("param-value", ht.attention, q, k, v, p, window=0)
        text = self.raises("no-variant", ht.attention, *self.qkv(dim=8), p)
        self.assertIn("head dims 16/16 alone", text)
        odd = torch.cat([torch.zeros(1, dtype=torch.half), q.flatten()])[1:].view(q.shape)
        self.assertIn("address", self.raises("alignment", ht.attention, odd, k, v, p))
        wide = torch.cat([k, k[..., :2]], -1)[..., :16]
        self.assertIn("stride", self.raises("alignment", ht.attention, q, wide, v, p))

    def test_too_much_memory(self):
        p = self.loaded()
        q, k, v = self.qkv()
        ht.attention(q, k, v, p)
        [made] = p.runner._plans.values()

        def new(shape, *rest):
            if shape == made.work[0]:
                raise torch.cuda.OutOfMemoryError("tried to allocate much")
            return torch.empty_strided(shape, rest[0], dtype=rest[1])

        launches = len(self.library.launches)
        with mock.patch.object(made, "new", new):
            text = self.raises("workspace", ht.attention, q, k, v, p)
        self.assertIn(f"{4 * 9 * 16 * 4} bytes in one workspace (ids alone has {4 * 9 * 16 * 4})", text)
        self.assertEqual(len(self.library.launches), launches)
        more = {"words": op("mul", 2**31, 2), "name": "ids", "units": None}
        self.raises("stored-limit", ht.attention, q, k, v, self.loaded(stored=[more], id="much"))

    def test_capture(self):
        p = self.loaded()
        q, k, v = self.qkv()
        self.capturing = True
        self.assertIn("capturing", self.raises("capture", ht.attention, q, k, v, p))
        self.capturing = False
        ht.attention(q, k, v, p)
        self.capturing = True
        self.assert_close(ht.attention(q, k, v, p, return_lse=True), dense(q, k, v, 16))
        self.raises("capture", ht.attention, q, k, v, p, window=3)

    def test_compile(self):
        p = self.loaded()
        q, k, v = self.qkv()
        tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
        torch.library.opcheck(p.op, (q, k, v, 5), test_utils=tests)
        f = torch.compile(lambda q, k, v, w: ht.attention(q * 2, k, v, p, window=w) + 1, fullgraph=True, backend="aot_eager")
        for w in (3, 4):
            torch.testing.assert_close(f(q, k, v, w), ht.attention(q * 2, k, v, p, window=w) + 1)

    def test_empty(self):
        p = self.loaded()
        q, k, v = self.qkv()
        self.assertEqual(ht.attention(q[:, :, :0], k, v, p).shape, (2, 4, 0, 16))
        self.assertEqual(self.library.launches, [])


if __name__ == "__main__":
    unittest.main()
