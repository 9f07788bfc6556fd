"""The choice of a variant, sizes of grids and workspaces, the bytes of struct Call, the words of params and lengths."""

import struct
import unittest

from handmade import call_record, manifest, op, var, variant

from heddle_torch.artifact import parse_artifact
from heddle_torch.call import CallBuffer, Layout, Sizes, check_sizes, choose_variant, fill_call, scalars_of, shape_of, unaligned
from heddle_torch.errors import HeddleError
from heddle_torch.values import reads_lengths, resolve_lengths, resolve_params, value_words

SIZES = Sizes(2, 8, 2, 300, 400, 64, 48)


def needs(vectors=False, qRows=None, pages=False):
    return {"vectors": vectors, "qRows": qRows, "pages": pages}


class Choice(unittest.TestCase):
    artifact = parse_artifact(
        manifest(
            variants=[
                variant("decode", needs=needs(qRows=16, pages=True)),
                variant("hopper", needs=needs(vectors=True), capability={"min": 90, "max": 90}, suffix="a"),
                variant("ampere"),
                variant("ampere-128", headDim=128, valueDim=128),
                variant("ampere-bf16", dtype="bf16"),
            ]
        )
    )

    def chosen(self, dtype="f16", sizes=SIZES, capability=90, **more):
        return choose_variant(self.artifact, dtype, sizes, capability, **more)["id"]

    def code(self, *args, **named):
        with self.assertRaises(HeddleError) as caught:
            choose_variant(self.artifact, *args, **named)
        return caught.exception.code, str(caught.exception)

    def test_first_that_fits(self):
        few = Sizes(2, 8, 2, 16, 400, 64, 64)
        self.assertEqual(self.chosen(), "hopper")
        self.assertEqual(self.chosen(sizes=few), "decode")
        self.assertEqual(self.chosen(sizes=few, paged=True), "decode")
        self.assertEqual(self.chosen(capability=89), "ampere")
        self.assertEqual(self.chosen(misaligned="q is odd"), "ampere")
        self.assertEqual(self.chosen(sizes=Sizes(1, 1, 1, 99, 99, 65, 8)), "ampere-128")
        self.assertEqual(self.chosen(dtype="bf16"), "ampere-bf16")
        self.assertEqual(self.chosen(only="ampere"), "ampere")

    def test_what_pays(self):
        window = {"param": "window"}
        pays = {"op": "le", "src": [{"op": "mul", "src": [window, 32]}, {"var": "kvRows"}]}
        rule = {"tensor": "k", "columns": 64, "rows": 64, "swizzle": 128, "step": window}
        stepped = variant("stepped", pays=pays, entries=[{**variant("x")["entries"][0], "tensorMaps": [rule]}])
        artifact = parse_artifact(manifest(variants=[stepped, variant("plain")]))

        def chosen(params, **more):
            return choose_variant(artifact, "f16", SIZES, 90, param=scalars_of(artifact, params), **more)["id"]

        fits = SIZES.kv_rows // 32
        self.assertEqual(chosen({"window": fits}), "stepped")
        self.assertEqual(chosen({"window": fits + 1}), "plain")
        self.assertEqual(chosen({}), "stepped" if 16 <= fits else "plain")  # by the default
        self.assertEqual(chosen({"window": fits + 1}, only="stepped"), "stepped")
        # What lies on the device alone cannot make a tensor map.
        self.assertEqual(chosen(None), "plain")
        with self.assertRaises(HeddleError) as caught:
            chosen(None, only="stepped")
        self.assertIn("needs window on the host", str(caught.exception))

    def test_shared_memory(self):
        with self.assertRaises(HeddleError) as caught:
            choose_variant(self.artifact, "f16", SIZES, 86, shared=65535)
        self.assertIn("needs 65536 bytes of shared memory", str(caught.exception))

    def test_refusals(self):
        self.assertEqual(self.code("f16", SIZES, 75)[0], "old-gpu")
        code, text = self.code("f16", SIZES, 90, paged=True)
        self.assertEqual(code, "no-variant")
        self.assertIn("decode takes at most 16 query rows", text)
        self.assertIn("hopper reads no pages", text)
        code, text = self.code("bf16", Sizes(1, 1, 1, 1, 1, 128, 128), 90)
        self.assertIn("head dims up to 64/64", text)
        code, text = self.code("f16", SIZES, 90, misaligned="k has a stride of 3 elements", only="hopper")
        self.assertIn("k has a stride of 3 elements", text)

    def test_alignment(self):
        good = (64, (2, 3, 4, 8), (96, 32, 8))
        self.assertIsNone(unaligned({"q": good}))
        self.assertIn("k starts", unaligned({"q": good, "k": (8, *good[1:])}))
        self.assertIn("stride of 12", unaligned({"q": (64, (2, 3, 4, 8), (96, 32, 12))}))
        self.assertIsNone(unaligned({"q": (64, (2, 3, 1, 8), (96, 32, 12))}))  # a unit dimension's stride means nothing

    def test_sizes(self):
        for sizes, code in (
            (Sizes(1, 3, 2, 1, 1, 8, 8), "heads-group"),
            (Sizes(1, 3, 0, 1, 1, 8, 8), "heads-group"),
            (Sizes(1, 2, 2, 2**22 + 1, 1, 8, 8), "size-limit"),
        ):
            with self.assertRaises(HeddleError) as caught:
                check_sizes(sizes)
            self.assertEqual(caught.exception.code, code)


class Launching(unittest.TestCase):
    def test_shape(self):
        splits = op("min", op("floorDiv", var("multiprocessors"), op("mul", var("batch"), var("kvHeads"))), 8)
        v = variant("v", splits=splits, workspace={"counters": op("mul", 4, var("splits")), "list": 0, "scratch": var("group")})
        shape = shape_of(v, SIZES, 132)
        self.assertEqual(shape.grids, ((5, 8, 2),))
        self.assertEqual((shape.splits, shape.counters, shape.list, shape.scratch, shape.list_stride), (8, 32, 0, 4, 14))

    def test_grid_beyond_the_limit(self):
        entry = {**variant("v")["entries"][0], "grid": [1, var("qRows"), 1]}
        with self.assertRaises(HeddleError) as caught:
            shape_of(variant("v", entries=[entry]), Sizes(1, 1, 1, 70000, 1, 8, 8), 132)
        self.assertIn("q rows 70000", str(caught.exception))

    def test_fills_by_name(self):
        record = call_record()
        # Another order of the fields: the filling goes by name and offset.
        moved = {"bytes": record["bytes"] + 8, "fields": [{**f, "offset": f["offset"] + 8} for f in record["fields"]][::-1]}
        for r in (record, moved):
            layout = Layout(r)
            buffer = CallBuffer(layout)
            strides = {n: (2**33 + i, 100 + i, 10 + i) for i, n in enumerate(("q", "k", "v", "out"))}
            fill_call(layout, buffer, SIZES, shape_of(variant("v"), SIZES, 1), strides, 0.125, True, (16, 25, 7))
            at = {f["name"]: f["offset"] for f in r["fields"]}
            read = lambda code, name, n=0: struct.unpack_from("<" + code, buffer.bytes, at[name] + n)[0]
            self.assertEqual(read("q", "vStride"), 2**33 + 2)
            self.assertEqual(read("q", "outStride", 16), 13)
            self.assertEqual(read("f", "scale"), 0.125)
            self.assertEqual([read("i", n) for n in ("qHeads", "kvRows", "valueDim", "pageStride", "vectors")], [8, 400, 48, 25, 1])
            self.assertEqual(layout.slots["lse"] * 8, at["lse"])


class Values(unittest.TestCase):
    params = [
        {"name": "beta", "type": "f32", "default": 0.1, "min": 0, "max": 0.7, "perHead": True},
        {"name": "window", "type": "i32", "default": 16, "min": -4, "max": 4096, "perHead": False},
    ]

    def artifact(self, *derived):
        return parse_artifact(manifest(params=self.params, derived=[{"name": "d", "type": "i32", "value": d} for d in derived]))

    def code(self, f, *args):
        with self.assertRaises(HeddleError) as caught:
            f(*args)
        return caught.exception.code

    def test_params(self):
        a = self.artifact()
        self.assertEqual(resolve_params(a, {}, 2)["window"], (16,))
        bits = lambda x: struct.unpack("<i", struct.pack("<f", x))[0]
        words = value_words(a, resolve_params(a, {"window": -4, "beta": [0.5, 0.7]}, 2), 1, 2, 1, 8, [])
        self.assertEqual(words, [-4, bits(0.5), bits(0.7)])  # 0.7 in f32 lies above the bound in f64, and is allowed
        for given, code in (
            ({"window": 4097}, "param-value"),
            ({"window": 1.5}, "param-value"),
            ({"window": True}, "param-value"),
            ({"window": "3"}, "param-value"),
            ({"window": [1, 2]}, "param-scalar"),
            ({"beta": [1, 2, 3]}, "param-count"),
            ({"beta": float("nan")}, "param-value"),
            ({"gamma": 1}, "name-unknown"),
        ):
            self.assertEqual(self.code(resolve_params, a, given, 2), code)

    def test_derived(self):
        a = self.artifact(op("add", var("head"), op("mul", 10, var("kvLen"))), op("mul", {"param": "window"}, var("batch")))
        words = value_words(a, resolve_params(a, {}, 2), 2, 2, 1, 8, [0, 0, 3, 0, 5, 0, 0, 3, 0, 7])
        self.assertEqual(words[3:], [50, 51, 70, 71, 0, 0, 16, 16])
        self.assertEqual(reads_lengths(a), "d")
        self.assertIsNone(reads_lengths(self.artifact(var("batch"))))

    def test_lengths(self):
        self.assertEqual(resolve_lengths(None, 2, 3, 5), [0, 2, 3, 0, 5] * 2)
        self.assertEqual(resolve_lengths([{"kvStart": 1}, (1, 9, 2, 0, 0)], 2, 3, 5), [0, 1, 3, 1, 4, 1, 9, 2, 0, 0])
        self.assertEqual(resolve_lengths(None, 1, 3, 0), [0, 0, 3, 0, 0])
        for lengths, code in (
            ([{}], "lengths-count"),
            (3, "lengths-count"),
            ([{}, {"kvLen": 6}], "length"),
            ([{}, {"kvLen": -1}], "length"),
            ([{}, {"kvLen": 1.5}], "length"),
            ([{}, {"rows": 1}], "length-unknown"),
            ([{}, 4], "length-unknown"),
            ([{}, {"kvLen": 2}], "negative-start"),
        ):
            self.assertEqual(self.code(resolve_lengths, lengths, 2, 3, 5), code)


if __name__ == "__main__":
    unittest.main()
