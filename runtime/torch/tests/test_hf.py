"""The plug-in for transformers without transformers and without a GPU: masks to lengths, profiles, fallbacks, caches."""

from __future__ import annotations

import json
import math
import unittest
import warnings
from pathlib import Path

from handmade import manifest, program
from on_cpu import OnCpu, dense, torch

import fake_transformers
import heddle_torch as ht
from fake_transformers import Attention
from heddle_torch import layer, padding
from heddle_torch.profile import layer_of


class HfCase(OnCpu):
    def setUp(self):
        super().setUp()
        patch = fake_transformers.install()
        patch.start()
        self.addCleanup(patch.stop)
        layer._said.clear()

    def registered(self, profile=None, changes=None, **model):
        """A layer of a model under the pattern of this test; `profile`: its config's."""
        p = self.load(**(changes or {}))
        names = ht.register()
        self.assertIn(f"heddle:{p.name}", names)
        config = {} if profile is None else {"sparse_attention": profile}
        return Attention(f"heddle:{p.name}", **config, **model), p

    def quiet(self, f, *args, **named):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return f(*args, **named)

    def warned(self, why, f, *args, **named):
        """Dense attention, and one sentence that says why, however often."""
        launches = len(self.library.launches)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out = f(*args, **named)
            f(*args, **named)
        self.assertEqual([str(w.message).split("since ")[1] for w in caught], [layer.DENSE_BECAUSE[why]])
        self.assertEqual(len(self.library.launches), launches)
        return out

    def close(self, got, want):
        torch.testing.assert_close(got.double(), want.double(), atol=2e-3, rtol=2e-3)


class Layers(HfCase):
    def test_prefill_and_decode(self):
        a, _ = self.registered({"params": {"window": 5}})
        q, k, v = self.qkv(rows=13)
        want = dense(q, k, v, 5)[0]
        self.close(self.quiet(a, q.transpose(1, 2).contiguous().transpose(1, 2), k, v), want)
        for rows in (1, 4):  # a step, and a chunk
            self.close(self.quiet(a, q[:, :, -rows:], k, v), want[:, :, -rows:])
        self.assertEqual(len(self.library.launches), 3)

    def test_few_keys_are_dense_in_silence(self):
        a, _ = self.registered({"params": {"window": 5}, "min_tokens": 13})
        q, k, v = self.qkv(rows=13)
        self.close(self.quiet(a, q[:, :, :12], k[:, :, :12], v[:, :, :12]), dense(q[:, :, :12], k[:, :, :12], v[:, :, :12], 99)[0])
        self.assertEqual(len(self.library.launches), 0)
        self.close(self.quiet(a, q, k, v), dense(q, k, v, 5)[0])
        self.assertEqual(len(self.library.launches), 1)

    def test_padding(self):
        a, _ = self.registered({"params": {"window": 5}})
        q, k, v = self.qkv(batch=3, rows=13)
        for real in ([(0, 13), (4, 13), (12, 13)], [(0, 13), (0, 9), (3, 10)]):
            mask = torch.zeros(3, 13)
            for b, (first, end) in enumerate(real):
                mask[b, first:end] = 1
            out = self.quiet(a, q, k, v, mask)
            for b, (first, end) in enumerate(real):
                own = [t[b : b + 1, :, first:end] for t in (q, k, v)]
                self.close(out[b : b + 1, :, first:end], dense(*own, 5)[0])
            self.assertTrue(out.isfinite().all())
        # A step after the first of these: the last row, with one more key each.
        mask = torch.ones(3, 13)
        mask[1, :4] = 0
        step = self.quiet(a, q[:, :, -1:], k, v, mask)
        self.close(step[1:2], dense(q[1:2, :, -1:], k[1:2, :, 4:], v[1:2, :, 4:], 5)[0])

    def test_static_cache(self):
        a, _ = self.registered({"params": {"window": 5}})
        q, k, v = self.qkv(rows=13, kv=40)
        mask = torch.ones(2, 13)
        mask[1, :4] = 0
        for at in (0, torch.tensor(0), torch.tensor([0])):
            for given in (None, mask, torch.nn.functional.pad(mask, (0, 27))):
                out = self.quiet(a, q, k, v, given, at=at)
                for b, first in enumerate((0, 0 if given is None else 4)):
                    own = [t[b : b + 1, :, first:13] for t in (q, k, v)]
                    self.close(out[b : b + 1, :, first:], dense(*own, 5)[0])
        step = self.quiet(a, q[:, :, :1], k, v, at=torch.tensor([20]))
        self.close(step, dense(q[:, :, :1], k[:, :, :21], v[:, :, :21], 5)[0])

    def test_mask_goes_through_twice(self):
        # generate() makes the mask of a static cache before the model asks for its own.
        a, _ = self.registered()
        mask = a.mask(2, 13, 40, torch.tensor([0]), torch.ones(2, 13))
        self.assertTrue(padding.is_lengths(mask))
        self.assertIs(a.mask(2, 13, 40, torch.tensor([0]), mask), mask)
        self.assertFalse(padding.is_lengths(torch.ones(2, 1, 1, 5, dtype=torch.bool)))

    def test_dense_with_a_warning(self):
        a, _ = self.registered({"params": {"window": 2}})
        q, k, v = self.qkv(rows=13)
        whole = dense(q, k, v, 99)[0]
        holes = torch.ones(2, 13)
        holes[1, 5] = 0
        out = self.warned("mask", a, q, k, v, holes)
        self.close(out[:1], whole[:1])
        kept = torch.ones(13, 13, dtype=torch.bool).tril()
        kept[:, 5] = False
        kept[5, 5] = True  # its own row is padding
        self.close(out[1:, :, 6:], torch.nn.functional.scaled_dot_product_attention(
            *(t[1:] for t in (q, *(x.repeat_interleave(2, 1) for x in (k, v)))), attn_mask=kept)[:, :, 6:])  # fmt: skip
        layer._said.clear()
        four = torch.ones(2, 1, 13, 13, dtype=torch.bool).tril()
        self.close(self.warned("mask", a, q, k, v, four), whole)
        self.close(self.warned("sliding", a, q, k, v, sliding_window=99), whole)
        self.close(self.warned("dropout", lambda: a(q, k, v, dropout=1e-9)), whole)
        self.close(self.warned("dtype", lambda: a(q.float(), k.float(), v.float())), whole)
        self.close(self.warned("not-causal", lambda: a(q, k, v, is_causal=False)[:, :, -1]), whole[:, :, -1])
        wide = self.qkv(rows=13, dim=80, value=80)
        self.close(self.warned("dims", a, *wide), dense(*wide, 99)[0])
        grad = [t.clone().requires_grad_() for t in (q, k, v)]
        self.close(self.warned("grad", a, *grad).detach(), whole)
        with torch.no_grad():
            self.close(self.quiet(a, *grad), dense(q, k, v, 2)[0])

    def test_dense_of_lengths_and_steps(self):
        a, _ = self.registered({"pattern": "dense"})
        q, k, v = self.qkv(rows=13)
        whole = dense(q, k, v, 99)[0]
        mask = torch.ones(2, 13)
        mask[1, :4] = 0
        out = self.quiet(a, q, k, v, mask)
        self.close(out[:1], whole[:1])
        self.close(out[1:, :, 4:], dense(q[1:, :, 4:], k[1:, :, 4:], v[1:, :, 4:], 99)[0])
        self.assertTrue(out.isfinite().all())
        for rows in (1, 5):
            self.close(self.quiet(a, q[:, :, -rows:], k, v), whole[:, :, -rows:])
            self.close(self.quiet(a, q[:, :, -rows:], k, v, mask)[1:], out[1:, :, -rows:])
        self.assertEqual(self.library.launches, [])

    def test_phases(self):
        q, k, v = self.qkv(rows=13)
        a, _ = self.registered({"decode": "dense", "params": {"window": 2}})
        self.close(self.quiet(a, q, k, v), dense(q, k, v, 2)[0])
        self.close(self.quiet(a, q[:, :, -1:], k, v), dense(q[:, :, -1:], k, v, 99)[0])
        a.config.sparse_attention = {"prefill": "dense", "params": {"window": 3}}
        self.close(self.quiet(a, q, k, v), dense(q, k, v, 99)[0])
        self.close(self.quiet(a, q[:, :, -1:], k, v), dense(q[:, :, -1:], k, v, 3)[0])
        a.config.sparse_attention["params"]["window"] = 6  # a change in place
        self.close(self.quiet(a, q[:, :, -1:], k, v), dense(q[:, :, -1:], k, v, 6)[0])

    def test_heads(self):
        q, k, v = self.qkv(q_heads=8, kv_heads=4, rows=13)
        a, p = self.registered(None, q_heads=8, kv_heads=4)
        own = [
            {"heads": "0-3", "pattern": p.name, "params": {"window": 2}},
            {"heads": [5], "pattern": p.name, "params": {"window": 3}},
        ]
        a.config.sparse_attention = {"params": {"window": 4}, "heads": [*own, {"heads": 7, "pattern": "dense"}]}
        mask = torch.ones(2, 13)
        mask[1, :4] = 0
        out = self.quiet(a, q, k, v, mask)
        for head, window in enumerate((2, 2, 2, 2, 4, 3, 4, 99)):
            one = [t[1:, h : h + 1, 4:] for t, h in ((q, head), (k, head // 2), (v, head // 2))]
            self.close(out[1:, head : head + 1, 4:], dense(*one, window)[0])
        a.config.sparse_attention = {"heads": [{"heads": "2-3"}]}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out = a(q, k, v)
        self.assertEqual(len(caught), 1)
        self.close(out[:, 2:4], dense(q[:, 2:4], k[:, 1:2], v[:, 1:2], 99)[0])

    def test_sinks(self):
        a, _ = self.registered({"params": {"window": 5}})
        q, k, v = self.qkv(rows=13)
        sinks = torch.tensor([-2.0, 0.0, 1.0, 3.0])
        out, lse = dense(q, k, v, 5)
        share = lse.exp() / (lse.exp() + sinks.view(1, 4, 1).exp())
        self.close(self.quiet(a, q, k, v, s_aux=sinks), out * share[..., None])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.raises("dense-sinks", a, q, k, v, s_aux=sinks, sliding_window=7)
        self.raises("softcap", a, q, k, v, softcap=30.0)

    def test_compile(self):
        a, _ = self.registered({"params": {"window": 5}})
        q, k, v = self.qkv(rows=1, kv=40)
        with torch.no_grad():
            a(q, k, v, at=torch.tensor([3]))
            step = torch.compile(lambda q, k, v, m, at: a(q, k, v, m, at=at), fullgraph=True, backend="aot_eager")
            mask = torch.ones(2, 40)
            mask[1, :2] = 0
            for at in (5, 20, 39):
                out = step(q, k, v, mask, torch.tensor([at]))
                self.close(out[:1], dense(q[:1], k[:1, :, : at + 1], v[:1, :, : at + 1], 5)[0])
                self.close(out[1:], dense(q[1:], k[1:, :, 2 : at + 1], v[1:, :, 2 : at + 1], 5)[0])
            ht.configure(a, {"params": {"window": 3}})
            out = step(q, k, v, mask, torch.tensor([20]))
            self.close(out[:1], dense(q[:1], k[:1, :, :21], v[:1, :, :21], 3)[0])


class Registering(HfCase):
    def test_folder_with_a_program(self):
        folder = Path(self.folder.name)
        for name, changes in (("plain", {}), ("staged", program())):
            record = manifest(pattern=f"registering-{name}", **changes)
            (folder / f"registering-{name}.cuda.json").write_text(json.dumps(record))
        names = ht.register(folder)
        self.assertTrue({"heddle", "heddle:registering-plain", "heddle:registering-staged"} <= set(names))
        q, k, v = self.qkv(rows=13)
        for name in ("plain", "staged"):
            self.close(Attention(f"heddle:registering-{name}")(q, k, v), dense(q, k, v, 16)[0])

    def test_named_profiles(self):
        p = self.load()
        names = ht.register(profiles={"mine": {"pattern": p.name, "params": {"window": 3}}})
        self.assertIn("heddle:mine", names)
        q, k, v = self.qkv(rows=13)
        self.close(Attention("heddle:mine")(q, k, v), dense(q, k, v, 3)[0])
        over = Attention("heddle:mine", sparse_attention={"params": {"window": 4}})
        self.close(over(q, k, v), dense(q, k, v, 4)[0])

    def test_name_alone(self):
        p = self.load()
        ht.register()
        q, k, v = self.qkv(rows=13)
        self.close(self.warned("undefined", Attention("heddle"), q, k, v), dense(q, k, v, 99)[0])
        self.close(Attention("heddle", sparse_attention={"pattern": p.name})(q, k, v), dense(q, k, v, 16)[0])
        self.raises("pattern-unknown", Attention("heddle", sparse_attention={"pattern": "nobody"}), q, k, v)

    def test_lengths_on_the_host(self):
        derived = [{"name": "d", "type": "i32", "value": {"var": "kvLen"}}]
        a, _ = self.registered(changes={"derived": derived})
        q, k, v = self.qkv(rows=13, kv=40)
        self.quiet(a, q, k[:, :, :13], v[:, :, :13])
        self.close(self.warned("lengths", a, q, k, v, at=0), dense(q, k[:, :, :13], v[:, :, :13], 99)[0])

    def test_configure(self):
        model = Attention("heddle")
        config = model.config
        ht.configure(model, {"pattern": "a", "layers": {"0-1": {"pattern": "dense"}}})
        self.assertEqual(config.sparse_attention["pattern"], "a")
        for profile, word in (
            ({"patern": "a"}, "patern"),
            ({"pattern": 3}, "pattern"),
            ({"layers": {"2-9": {}}}, "layers"),
            ({"layers": {"x": {}}}, "layers"),
            ({"layers": {"1": {"layers": {}}}}, "layers"),
            ({"decode": "fast"}, "decode"),
            ({"heads": [{"heads": [4]}]}, "heads"),
            ({"heads": [{"heads": [1], "decode": "dense"}]}, "decode"),
            ({"params": 3}, "params"),
        ):
            self.assertIn(word, self.raises("profile", ht.configure, model, profile))


class Profiles(unittest.TestCase):
    def test_layers(self):
        profile = {"pattern": "a", "params": {"x": 1, "y": 2}, "layers": {"0-1,3": {"params": {"x": 5}}, "2": {"pattern": "b"}}}
        found = [layer_of(profile, i, 4, 4, 2).runs for i in range(4)]
        self.assertEqual([len(runs) for runs in found], [1] * 4)
        self.assertEqual([runs[0].params for runs in found], [{"x": 5, "y": 2}] * 2 + [{}] + [{"x": 5, "y": 2}])
        self.assertEqual([runs[0].pattern for runs in found], ["a", "a", "b", "a"])

    def test_runs(self):
        """Every head once, in order; a run reads whole groups or lies in one; params are those of its heads."""
        for q_heads, kv_heads in ((8, 2), (6, 6), (12, 4), (5, 1)):
            for bits in range(2**q_heads if q_heads < 7 else 256):
                chosen = [h for h in range(q_heads) if bits >> h & 1]
                heads = [{"heads": chosen, "pattern": "b", "params": {"p": [10 * h for h in chosen]}}] if chosen else []
                profile = {"pattern": "a", "params": {"p": list(range(q_heads))}, "heads": heads}
                runs = layer_of(profile, 0, 1, q_heads, kv_heads).runs
                group, at = q_heads // kv_heads, 0
                for run in runs:
                    self.assertEqual(run.heads[0], at)
                    at = run.heads[1]
                    own = list(range(*run.heads))
                    self.assertTrue(all((h in chosen) == (run.pattern == "b") for h in own))
                    self.assertEqual([h // group for h in own], sorted(h // group for h in own))
                    many = run.kv_heads[1] - run.kv_heads[0]
                    self.assertEqual({h // group for h in own}, set(range(*run.kv_heads)))
                    self.assertTrue(many == 1 or len(own) == many * group)
                    want = [h * (10 if run.pattern == "b" else 1) for h in own]
                    got = run.params["p"]
                    self.assertEqual(got if isinstance(got, list) else [got] * len(own), want)
                self.assertEqual(at, q_heads)


class Lengths(unittest.TestCase):
    def test_against_the_mask(self):
        """Wherever real positions are a run, the mask of the lengths is the one that transformers would make."""
        g = torch.Generator().manual_seed(3)
        draw = lambda low, high: int(torch.randint(low, high + 1, (), generator=g))
        for _ in range(300):
            rows, at, spare = draw(1, 6), draw(0, 5), draw(0, 4)
            real = torch.zeros(2, rows + at + draw(0, spare), dtype=torch.bool)
            for b in range(2):
                first = draw(0, rows + at - 1)
                real[b, first : draw(first, rows + at)] = True
            lengths, good = padding.lengths_of(real, 2, rows, at if draw(0, 1) else torch.tensor([at]), "cpu")
            self.assertTrue(good.all())
            keys = rows + at + spare
            got = padding.dense_mask(lengths, rows, keys)
            wide = torch.zeros(2, keys, dtype=torch.bool)
            wide[:, : real.shape[1]] = real[:, :keys]
            want = fake_transformers.sdpa_mask(2, rows, keys, at, attention_mask=wide)
            is_row = wide[:, at : at + rows, None]
            self.assertTrue((got[:, 0] & is_row == want[:, 0] & is_row if want is not None else True).all())
            q_row, _, q_len, kv_start, kv_len = lengths.view(2, 5).unbind(-1)
            self.assertTrue((q_row >= 0).all() and (q_row + q_len <= rows).all() and (kv_start + kv_len <= keys).all())

    def test_holes_are_seen(self):
        real = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]]).bool()
        _, good = padding.lengths_of(real, 3, 4, 0, "cpu")
        self.assertEqual(good.tolist(), [False, True, True])

    def test_all_padding_is_finite(self):
        lengths, _ = padding.lengths_of(torch.zeros(1, 4).bool(), 1, 4, 0, "cpu")
        self.assertTrue(padding.dense_mask(lengths, 4, 4).any(-1).all())
        self.assertFalse(math.isnan(float(lengths.sum())))


if __name__ == "__main__":
    unittest.main()
