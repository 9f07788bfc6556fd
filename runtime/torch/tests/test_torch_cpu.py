"""The torch side (op, fake, compile, plans, state, errors) without a GPU: CPU tensors and a stand-in for the driver."""

from __future__ import annotations

import math
import threading
import unittest
from unittest import mock

from handmade import manifest, op, var, variant
from on_cpu import OnCpu, dense, torch

import heddle_torch as ht
from heddle_torch import buffers, debug, plan
from heddle_torch.gpu import gpu


class TorchSide(OnCpu):
    def test_matches_dense(self):
        p = self.load()
        q, k, v = self.qkv(value=24)
        self.assert_close(ht.attention(q, k, v, p, return_lse=True, window=5), dense(q, k, v, 5))
        self.assert_close(ht.attention(q, k, v, p.name, return_lse=True, scale=0.5), dense(q, k, v, 16, 0.5))
        self.assertEqual(ht.attention(q, k, v, p).shape, (2, 4, 9, 24))

    def test_strides_and_layout(self):
        p = self.load()
        q, k, v = self.qkv()
        expected = ht.attention(q, k, v, p, return_lse=True)
        turned = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
        out, lse = ht.attention(*turned, p, return_lse=True)
        torch.testing.assert_close((out, lse), expected)
        self.assertTrue(out.transpose(1, 2).is_contiguous())
        wide = [torch.cat([t, t], -1)[..., : t.shape[-1]] for t in (q, k, v)]
        torch.testing.assert_close(ht.attention(*wide, p, return_lse=True), expected)

    def test_lengths(self):
        p = self.load()
        q, k, v = self.qkv()
        out, lse = ht.attention(q, k, v, p, return_lse=True, lengths=[{"kvStart": 2, "kvLen": 9}, {"qRow": 1, "qLen": 4, "kvLen": 0}])
        self.assert_close((out[:1], lse[:1]), dense(q[:1], k[:1, :, 2:11], v[:1, :, 2:11], 16))
        self.assertTrue((out[1] == 0).all() and (lse[1] == -math.inf).all())
        self.assertIn("kvLen", self.raises("length", ht.attention, q, k, v, p, lengths=[{"kvLen": 14}, {}]))
        self.raises("length", ht.attention, q, k, v, p, lengths=[{"qLen": -1}, {}])
        self.raises("lengths-count", ht.attention, q, k, v, p, lengths=[{}])
        self.raises("length-unknown", ht.attention, q, k, v, p, lengths=[{"len": 3}, {}])
        self.raises("negative-start", ht.attention, k, q[:, :2], q[:, :2], self.load())

    def test_repeated_calls_reuse_the_plan(self):
        p = self.load(variants=[variant("v", workspace={"counters": 64, "list": op("mul", var("batch"), 8), "scratch": 16})])
        q, k, v = self.qkv()
        with mock.patch.object(plan.Plan, "__init__", autospec=True, side_effect=plan.Plan.__init__) as made:
            for window in (5, 6, 5, 6):
                self.assert_close(ht.attention(q.clone(), k, v, p, return_lse=True, window=window), dense(q, k, v, window))
            self.assertEqual(made.call_count, 2)
        calls = [launch["call"] for launch in self.library.launches]
        self.assertEqual(len({c.counters for c in calls}), 1)
        self.assertTrue(all(c.list and c.scratch for c in calls))

    def test_opcheck(self):
        p = self.load()
        q, k, v = self.qkv()
        tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
        torch.library.opcheck(p.op, (q, k, v, 5), test_utils=tests)
        torch.library.opcheck(p.op, (q.transpose(1, 2).contiguous().transpose(1, 2), k, v), test_utils=tests)

    def test_compile(self):
        p = self.load()
        q, k, v = self.qkv()
        f = torch.compile(lambda q, k, v, w: ht.attention(q * 2, k, v, p, window=w) + 1, fullgraph=True, backend="aot_eager")
        for w in (3, 4, 5):
            torch.testing.assert_close(f(q, k, v, w), ht.attention(q * 2, k, v, p, window=w) + 1)
        state = ht.State.like(p, q, k, window=7)
        g = torch.compile(lambda q, k, v: ht.attention(q, k, v, p, state=state, return_lse=True), fullgraph=True, backend="aot_eager")
        self.assert_close(g(q, k, v), dense(q, k, v, 7))
        state.update(window=2)
        self.assert_close(g(q, k, v), dense(q, k, v, 2))

    def test_state(self):
        p = self.load()
        q, k, v = self.qkv()
        rows = torch.tensor([[0, 4, 9, 0, 13]] * 2, dtype=torch.int32)
        state = ht.State.like(p, q, k, window=3, lengths=rows)
        self.assert_close(ht.attention(q, k, v, p, state=state, return_lse=True), dense(q, k, v, 3))
        rows[:, 4] = 11
        rows[:, 1] = 2
        state.update(window=20)
        self.assert_close(ht.attention(q, k, v, p, state=state, return_lse=True), dense(q, k[:, :, :11], v[:, :, :11], 20))
        state.update(lengths=[{"kvLen": 12}] * 2)
        self.assert_close(ht.attention(q, k, v, p, state=state, return_lse=True), dense(q, k[:, :, :12], v[:, :, :12], 20))
        before = state.values.clone()
        self.raises("param-value", state.update, window=0)
        self.assertTrue((state.values == before).all())
        self.raises("state-params", ht.attention, q, k, v, p, state=state, window=4)
        self.raises("state-sizes", ht.attention, q[:1], k[:1], v[:1], p, state=state)
        self.raises("state-sizes", ht.attention, q, k[:, :, :4], v[:, :, :4], p, state=state)
        with torch.inference_mode():
            made = ht.State.like(p, q, k, window=3)
        made.update(window=4)
        self.capturing = True
        self.raises("state-capture", state.update, window=4)

    def test_capture(self):
        p = self.load(variants=[variant("v", workspace={"counters": 64, "list": 0, "scratch": 0})])
        q, k, v = self.qkv()
        self.capturing = True
        self.assertIn("capturing", self.raises("capture", ht.attention, q, k, v, p))
        self.capturing = False
        ht.attention(q, k, v, p)
        self.capturing = True
        ht.attention(q, k, v, p)
        self.assertNotEqual(self.library.launches[0]["call"].counters, self.library.launches[1]["call"].counters)
        self.assertEqual(len(buffers._captured), 1)
        self.raises("capture", ht.attention, q, k, v, p, window=3)

    def test_variants_fall_back(self):
        rule = {"tensor": "q", "columns": 64, "rows": 64, "swizzle": 128, "step": None}
        entry = {"name": "attend", "threads": 1, "sharedBytes": 0, "grid": [1, 1, 1], "tensorMaps": [rule, {**rule, "tensor": "v"}]}
        needs = {"vectors": True, "qRows": None, "pages": False}
        fast = variant("fast", needs=needs, entries=[entry], capability={"min": 90, "max": 90}, suffix="a")
        p = self.load(variants=[fast, variant("any")])
        q, k, v = self.qkv()
        ht.attention(q, k, v, p)
        self.assertEqual(self.library.launches[-1]["grid"], [1, 1, 1])
        self.assertEqual([m["dims"] for m in self.library.maps], [[16, 9, 4, 2], [16, 13, 2, 2]])
        self.assertEqual(self.library.maps[0]["strides"], [32, 288, 1152])
        ht.attention(q, k, v, p)
        self.assertEqual(len([m for m in self.library.maps if m["pointer"] == v.data_ptr()]), 1)
        odd = torch.cat([torch.zeros(1, dtype=torch.half), q.flatten()])[1:].view(q.shape)
        self.assert_close(ht.attention(odd, k, v, p, return_lse=True), dense(q, k, v, 16))
        self.assertEqual(self.library.launches[-1]["grid"], [1, 4, 2])
        text = self.raises("no-variant", ht.attention, odd, k, v, p, variant="fast")
        self.assertIn("q starts at an address", text)

    def test_empty(self):
        p = self.load()
        q, k, v = self.qkv()
        self.assertEqual(ht.attention(q[:, :, :0], k, v, p).shape, (2, 4, 0, 16))
        out, lse = ht.attention(q, k[:, :, :0], v[:, :, :0], p, return_lse=True)
        self.assertTrue((out == 0).all() and (lse == -math.inf).all())

    def test_tables_and_errors(self):
        table = {"name": "slope", "type": "f32", "dims": ["head", 3], "min": 0, "max": None, "monotone": True}
        p = self.load(tables=[table])
        q, k, v = self.qkv()
        slope = torch.rand(4, 3).sort()[0]
        ht.attention(q, k, v, p, slope=slope)
        self.assertEqual(self.library.launches[-1]["call"].tables[0], slope.data_ptr())
        self.raises("table-missing", ht.attention, q, k, v, p)
        self.raises("shape", ht.attention, q, k, v, p, slope=slope[:2])
        self.raises("dtype", ht.attention, q, k, v, p, slope=slope.double())
        self.raises("tensor", ht.attention, q, k, v, p, slope=[1.0])
        self.assertIn("window", self.raises("name-unknown", ht.attention, q, k, v, p, slope=slope, wind=3))
        with mock.patch.object(debug, "_on", True):
            ht.attention(q, k, v, p, slope=slope)
            self.raises("table-value", ht.attention, q, k, v, p, slope=slope - 2)
            self.raises("table-monotone", ht.attention, q, k, v, p, slope=slope.flip(1))

    def test_errors(self):
        p = self.load()
        q, k, v = self.qkv()
        self.raises("pattern-unknown", ht.attention, q, k, v, "no-such")
        self.raises("tensor", ht.attention, q, [1], v, p)
        self.raises("dtype", ht.attention, q.float(), k, v, p)
        self.raises("dtype", ht.attention, q, k.bfloat16(), v, p)
        self.raises("device", ht.attention, q, k.to("meta"), v, p)
        self.raises("shape", ht.attention, q[0], k, v, p)
        self.raises("shape", ht.attention, q, k[:1], v, p)
        self.raises("shape", ht.attention, q, k, v[:, :, :5], p)
        self.raises("heads-group", ht.attention, q[:, :3], k, v, p)
        self.raises("last-stride", ht.attention, q.mT.contiguous().mT, k, v, p)
        self.raises("grad", ht.attention, q.clone().requires_grad_(), k, v, p)
        self.raises("grad", p.op, q.clone().requires_grad_(), k, v)
        with torch.no_grad():
            ht.attention(q.clone().requires_grad_(), k, v, p)
        self.raises("param-value", ht.attention, q, k, v, p, window=0)
        self.raises("param-value", ht.attention, q, k, v, p, window=2.5)
        self.raises("param-value", ht.attention, q, k, v, p, window=True)
        self.raises("param-scalar", ht.attention, q, k, v, p, window=[1, 2, 3, 4])
        self.raises("scale", ht.attention, q, k, v, p, scale=math.nan)
        self.raises("no-variant", ht.attention, q.bfloat16(), k.bfloat16(), v.bfloat16(), p)
        self.raises("pages-variant", ht.attention, q, k, v, p, pages=torch.zeros(2, 3, dtype=torch.int32))
        with mock.patch.object(gpu, "properties", lambda index: (75, 40, 65536)):
            self.raises("old-gpu", ht.attention, q[:, :, :3], k, v, p)
        self.library.fail["cuLaunchKernel"] = 700
        text = self.raises("driver", ht.attention, q, k, v, p)
        self.assertIn("heads 4/2, q rows 9, kv rows 13", text)
        self.assertIn("CUDA_ERROR_MADE_UP", text)
        self.library.fail["cuLaunchKernel"] = 201
        ht.attention(q, k, v, p)
        self.library.fail["cuModuleLoadData"] = 200
        self.raises("driver", ht.attention, q, k, v, self.load(pattern="other"))

    def test_pages(self):
        needs = {"vectors": False, "qRows": 16, "pages": True}
        p = self.load(variants=[variant("paged", needs=needs, entries=[{**variant("x")["entries"][0], "name": "paged"}])])
        q, _, _ = self.qkv()
        pool = torch.randn(7, 2, 4, 16).half()
        table = torch.randint(0, 7, (2, 5), dtype=torch.int32)
        ht.attention(q, pool, pool, p, pages=table, lengths=[{"kvLen": 9}, {"kvLen": 20}])
        call = self.library.launches[-1]["call"]
        self.assertEqual((call.pageSize, call.pageStride, call.pageCount, call.kvRows), (4, 5, 7, 20))
        self.assertEqual(call.pages, table.data_ptr())
        self.assertEqual(list(call.kStride), [128, 64, 16])
        self.raises("dtype", ht.attention, q, pool, pool, p, pages=table.long())
        table[0, 4] = 9
        with mock.patch.object(debug, "_on", True):
            ht.attention(q, pool, pool, p, pages=table, lengths=[{"kvLen": 9}, {"kvLen": 20}])
            self.raises("page", ht.attention, q, pool, pool, p, pages=table, lengths=[{"kvLen": 17}, {"kvLen": 20}])

    def test_per_head_and_derived(self):
        per_head = {"name": "alpha", "type": "f32", "default": 1.5, "min": 0, "max": 9, "perHead": True}
        window = manifest()["params"][0]
        value = op("toI32", op("mul", {"param": "alpha"}, var("kvLen")))
        p = self.load(params=[per_head, window], derived=[{"name": "span", "type": "i32", "value": value}])
        q, k, v = self.qkv()
        ht.attention(q, k, v, p, alpha=[1, 2, 3, 4], window=6)
        ht.attention(q, k, v, p, alpha=2)
        self.raises("param-count", ht.attention, q, k, v, p, alpha=[1, 2])
        rows = torch.tensor([[0, 4, 9, 0, 13]] * 2, dtype=torch.int32)
        self.raises("lengths-derived", ht.State.like, p, q, k, lengths=rows)
        state = ht.State.like(p, q, k, alpha=[0.5, 1, 2, 3])
        words = state.values.tolist()
        self.assertEqual(words[0], 16)
        self.assertEqual(words[1:5], torch.tensor([0.5, 1, 2, 3]).view(torch.int32).tolist())
        self.assertEqual(words[5:], [6, 13, 26, 39] * 2)
        state.update(lengths=[{"kvLen": 10}, {"kvLen": 12}])
        self.assertEqual(state.values.tolist()[5:], [5, 10, 20, 30, 6, 12, 24, 36])

    def test_threads(self):
        p = self.load()
        inputs = [self.qkv(seed=i) for i in range(4)]
        expected = [ht.attention(*x, p) for x in inputs]
        wrong = []

        def work(i):
            for _ in range(20):
                if not torch.equal(ht.attention(*inputs[i], p), expected[i]):
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
