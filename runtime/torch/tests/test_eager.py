"""Calls past the dispatcher give what the op gives, and are made only where nobody would miss the op."""

from __future__ import annotations

import unittest
import warnings
from unittest import mock

from handmade import manifest
from on_cpu import OnCpu, torch

import heddle_torch as ht
from heddle_torch import eager


class Attending(torch.nn.Module):
    def __init__(self, pattern):
        super().__init__()
        self.pattern = pattern

    def forward(self, q, k, v):
        return ht.attention(q, k, v, self.pattern)


class Eager(OnCpu):
    def through_op(self, p, call):
        """The result of a call, and whether it went through the op."""
        with mock.patch.object(p, "op", wraps=p.op) as op:
            return call(), op.call_count > 0

    def test_direct_and_through_the_op(self):
        table = {"name": "slope", "type": "f32", "dims": ["head"], "min": None, "max": None, "monotone": False}
        per_head = {"name": "alpha", "type": "f32", "default": 1.5, "min": 0, "max": 9, "perHead": True}
        p = self.load(params=[*manifest()["params"], per_head], tables=[table])
        q, k, v = self.qkv()
        slope = torch.rand(4)
        state = ht.State.like(p, q, k, window=3)
        rows = torch.tensor([[0, 4, 9, 0, 13]] * 2, dtype=torch.int32)
        rest = {"slope": slope, "return_lse": True}
        for named in (
            {},
            {"window": 4, "scale": 0.25, "variant": "d64-f16-ampere"},
            {"alpha": [1, 2, 3, 4]},
            {"lengths": [{"kvStart": 1}, {"qLen": 4}]},
            {"state": state},
            {"state": ht.State.like(p, q, k, lengths=rows)},
        ):
            with mock.patch.object(eager, "unwatched", lambda: False):
                expected, through = self.through_op(p, lambda: ht.attention(q, k, v, p, **rest, **named))
            self.assertTrue(through)
            of_op = bytes(self.library.launches[-1]["call"])
            for _ in range(2):
                got, through = self.through_op(p, lambda: ht.attention(q, k, v, p, **rest, **named))
                self.assertFalse(through)
                torch.testing.assert_close(got, expected, atol=0, rtol=0)
                self.assertEqual([t.stride() for t in got], [t.stride() for t in expected])
                call = type(self.library.launches[-1]["call"]).from_buffer_copy(of_op)
                for name in ("out", "lse"):
                    setattr(call, name, getattr(self.library.launches[-1]["call"], name))
                self.assertEqual(bytes(self.library.launches[-1]["call"]), bytes(call))
        with torch.inference_mode():
            self.assertTrue(ht.attention(q, k, v, p, slope=slope).is_inference())
        self.raises("grad", ht.attention, q.clone().requires_grad_(), k, v, p, slope=slope)
        self.raises("device", ht.attention, q.to("meta"), k.to("meta"), v.to("meta"), p, slope=slope)

    def test_what_must_go_through_the_op(self):
        p = self.load()
        q, k, v = self.qkv()
        expected = ht.attention(q, k, v, p)

        def attend(q=q, **named):
            return ht.attention(q, k, v, p, **named)

        def check(call=attend):
            got, through = self.through_op(p, call)
            self.assertTrue(through)
            return got

        seen = []

        class Dispatch(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                seen.append(func)
                return func(*args, **(kwargs or {}))

        class Function(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                seen.append(func)
                return func(*args, **(kwargs or {}))

        for mode in (Dispatch, Function):
            with mode():
                torch.testing.assert_close(check(), expected)
            self.assertIn(p.op, seen)
            seen.clear()
        with torch._subclasses.FakeTensorMode() as mode:
            fake = [mode.from_tensor(t) for t in (q, k, v)]
            got = check(lambda: ht.attention(*fake, p))
        self.assertIsInstance(got, torch._subclasses.FakeTensor)
        self.assertEqual((got.shape, got.stride()), (expected.shape, expected.stride()))
        graph = torch.fx.experimental.proxy_tensor.make_fx(lambda q: attend(q))(q)
        self.assertIn(p.op, [node.target for node in graph.graph.nodes])
        program = torch.export.export(Attending(p), (q, k, v))
        self.assertIn(p.op, [node.target for node in program.graph.nodes])
        with torch.profiler.profile() as profile:
            check()
        self.assertIn(p.op_name, [event.name for event in profile.events()])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.assertIn(p.op_name, str(torch.jit.trace(attend, q, check_trace=False).graph))
            batched = check(lambda: torch.func.vmap(attend)(torch.stack([q, q / 2])))
        torch.testing.assert_close(batched, torch.stack([expected, attend(q / 2)]))
        with torch.autograd.forward_ad.dual_level():
            check()
        torch.testing.assert_close(check(lambda: attend(torch._neg_view(-q))), expected)
        with torch.no_grad():
            torch.testing.assert_close(check(lambda: attend(torch.nn.Parameter(q))), expected)
        check(lambda: attend(scale=1))
        with self.assertRaises(RuntimeError):
            attend(pages=[1])


if __name__ == "__main__":
    unittest.main()
