"""The plug-in for transformers with programs of several kernels: prefill, steps, padding, caches, and profiles of MInference's
search, without transformers and without a GPU."""

from __future__ import annotations

import json
import unittest
from pathlib import Path

from handmade import program
from on_cpu import dense, torch
from test_hf import HfCase

import heddle_torch as ht
from fake_transformers import Attention
from heddle_torch import layer
from heddle_torch.profile import layer_of


class ProgramLayers(HfCase):
    """A layer under a program of several kernels."""

    def under(self, profile=None, **changes):
        return self.registered({"params": {"window": 5}, **(profile or {})}, changes=program(**changes))[0]

    def test_prefill_and_steps(self):
        a = self.under()
        q, k, v = self.qkv(rows=13)
        want = dense(q, k, v, 5)[0]
        self.close(self.quiet(a, q, k, v), want)
        self.close(self.quiet(a, q[:, :, -4:], k, v), want[:, :, -4:])
        step = q[:, :, -1:]
        self.close(self.warned("program-decode", a, step, k, v), dense(step, k, v, 99)[0])
        layer._said.clear()
        self.close(self.quiet(self.under({"decode": "dense"}), step, k, v), dense(step, k, v, 99)[0])
        self.close(self.quiet(self.under({"layers": {"0": {"decode": "pattern"}}}), step, k, v), want[:, :, -1:])

    def test_padding(self):
        a = self.under({"decode": "pattern"})
        q, k, v = self.qkv(batch=3, rows=13)
        for real in ([(0, 13), (4, 13), (12, 13)], [(0, 13), (0, 9), (3, 10)]):
            mask = torch.zeros(3, 13)
            for b, (first, end) in enumerate(real):
                mask[b, first:end] = 1
            out = self.quiet(a, q, k, v, mask)
            for b, (first, end) in enumerate(real):
                own = [t[b : b + 1, :, first:end] for t in (q, k, v)]
                self.close(out[b : b + 1, :, first:end], dense(*own, 5)[0])
        mask = torch.ones(3, 13)
        mask[1, :4] = 0
        step = self.quiet(a, q[:, :, -1:], k, v, mask)
        self.close(step[1:2], dense(q[1:2, :, -1:], k[1:2, :, 4:], v[1:2, :, 4:], 5)[0])

    def test_static_cache(self):
        a = self.under()
        q, k, v = self.qkv(rows=13, kv=40)
        mask = torch.ones(2, 13)
        mask[1, :4] = 0
        for at in (0, torch.tensor([0])):
            out = self.quiet(a, q, k, v, mask, at=at)
            for b, first in enumerate((0, 4)):
                own = [t[b : b + 1, :, first:13] for t in (q, k, v)]
                self.close(out[b : b + 1, :, first:], dense(*own, 5)[0])
        self.close(self.quiet(a, q, k, v, at=0), dense(q, k[:, :, :13], v[:, :, :13], 5)[0])
        # Nobody reads back where a text without padding stands.
        whole = dense(q, k[:, :, :13], v[:, :, :13], 99)[0]
        self.close(self.warned("program-lengths", a, q, k, v, at=torch.tensor([0])), whole)

    def test_compile(self):
        a = self.under()
        q, k, v = self.qkv(rows=13, kv=40)
        keys = [t[:, :, :13].contiguous() for t in (k, v)]
        with torch.no_grad():
            whole = torch.compile(lambda q, k, v: a(q, k, v), fullgraph=True, backend="aot_eager")
            self.close(self.quiet(whole, q, *keys), dense(q, *keys, 5)[0])
            # What is real of a static cache is known on the device alone.
            part = torch.compile(lambda q, k, v, m, at: a(q, k, v, m, at=at), fullgraph=True, backend="aot_eager")
            out = self.warned("program-lengths", part, q, k, v, torch.ones(2, 13), torch.tensor([0]))
            self.close(out, dense(q, *keys, 99)[0])

    def test_heads(self):
        a = self.under({"heads": [{"heads": "2-3", "pattern": "dense"}]})
        q, k, v = self.qkv(rows=13)
        out = self.quiet(a, q, k, v)
        self.close(out[:, :2], dense(q[:, :2], k[:, :1], v[:, :1], 5)[0])
        self.close(out[:, 2:], dense(q[:, 2:], k[:, 1:], v[:, 1:], 99)[0])

    def test_dims(self):
        a = self.under()
        wide = self.qkv(rows=13, dim=32, value=32)
        self.close(self.warned("dims", a, *wide), dense(*wide, 99)[0])

    def test_rows(self):
        made = program()
        made["stages"]["rows"] = [{"name": "kIndex", "side": "kv", "share": "request", "grain": "token"}]
        a, _ = self.registered(changes=made)
        self.assertIn("kIndex", self.raises("program-rows", a, *self.qkv(rows=13)))


class SearchProfiles(HfCase):
    """What MInference's search wrote, for a pattern called minference whose params are one value a head."""

    def setUp(self):
        super().setUp()
        numbers = ("vertical", "slash", "k", "window", "sinkTokens")
        param = lambda name: {"name": name, "type": "i32", "default": 0, "min": 0, "max": 2**22, "perHead": True}
        self.load(pattern="minference", params=[param(name) for name in numbers])
        ht.register()

    def test_configure(self):
        kinds = {
            "0": ["vertical_and_slash", 1000, 6096, 0.9],
            "1": ["stream_llm", 100, 800, 1.0],
            "2": ["block_sparse", 3, 5, 0.5],
            "3": ["vertical_and_slash", 0, 0, 0.0],
        }
        path = Path(self.folder.name) / "searched.json"
        path.write_text(json.dumps([kinds] * 4))
        model = Attention("heddle:minference")
        for given in (path, str(path), [kinds] * 4):
            ht.configure(model, given)
            [run] = layer_of(model.config.sparse_attention, 3, 4, 4, 2).runs
            want = {"vertical": [1000, 0, 0, 1], "slash": [6096, 0, 0, 1], "k": [0, 0, 100, 0], "window": [0, 800, 0, 0]}
            self.assertEqual((run.pattern, run.params), ("minference", {**want, "sinkTokens": [0, 100, 0, 0]}))
        self.raises("profile-size", ht.configure, model, [kinds] * 3)
        self.raises("profile-size", ht.configure, Attention("heddle:minference", q_heads=8), [kinds] * 4)
        more = ht.read_profile(path, blocks=7)
        self.assertEqual(more["layers"]["0"]["params"]["k"], [0, 0, 7, 0])
        more["layers"]["0-1"] = {"pattern": "dense"}
        ht.configure(model, more)
        self.assertEqual(layer_of(model.config.sparse_attention, 1, 4, 4, 2).runs[0].pattern, "dense")
        self.assertIn("heddle:searched", ht.register(profiles={"searched": path}))
        self.assertEqual(Attention("heddle:searched").config.num_hidden_layers, 4)


if __name__ == "__main__":
    unittest.main()
