"""Manifests on their way in: what is refused, with which code, and that the hash covers everything but cubins."""

import json
import tempfile
import unittest
from pathlib import Path

from handmade import manifest, op, program, stage_kernel, var, variant, write

from heddle_torch.artifact import content_hash, parse_artifact, read_artifact
from heddle_torch.errors import HeddleError


class Artifacts(unittest.TestCase):
    def refused(self, record, code, rehash=True):
        if rehash and isinstance(record, dict) and "variants" in record:
            record = {**record, "hash": content_hash(record)}
        with self.assertRaises(HeddleError) as caught:
            parse_artifact(record)
        self.assertEqual(caught.exception.code, code)
        return str(caught.exception)

    def test_reads_what_was_written(self):
        with tempfile.TemporaryDirectory() as folder:
            a = read_artifact(write(Path(folder), manifest()))
            self.assertEqual((a.pattern, a.param_names, a.folder), ("hand-made", ("window",), Path(folder)))

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.json"
            for text, code in (("{", "not-an-artifact"), ("[]", "not-an-artifact"), ("{}", "not-an-artifact")):
                path.write_text(text)
                with self.assertRaises(HeddleError) as caught:
                    read_artifact(path)
                self.assertEqual(caught.exception.code, code)
            with self.assertRaises(HeddleError) as caught:
                read_artifact(Path(folder) / "none.json")
            self.assertEqual(caught.exception.code, "no-file")

    def test_version_and_target(self):
        self.assertIn("version 99", self.refused(manifest(version=99), "artifact-version"))
        self.assertIn("wgsl", self.refused(manifest(target="wgsl"), "artifact-target"))

    def test_hash(self):
        record = manifest()
        record["cite"] = "changed"
        self.refused(record, "artifact-hash", rehash=False)
        record = manifest()
        record["variants"][0]["cubins"] = [{"arch": "sm_80", "file": "x", "sha256": "0" * 64, "resources": []}]
        parse_artifact(record)  # cubins are added after the build

    def test_text_of_another_kernel(self):
        record = manifest()
        record["variants"][0]["code"] += " "
        self.assertIn("d64-f16-ampere", self.refused(record, "not-an-artifact"))

    def test_form(self):
        param = manifest()["params"][0]
        for changes, words in (
            ({"params": [{**param, "type": "i64"}]}, "params[0].type"),
            ({"tables": [{"name": "t", "type": "i32", "dims": ["rows"], "min": 0, "max": 1, "monotone": True}]}, "tables[0].dims[0]"),
            ({"derived": [{"name": "d", "type": "i32", "value": op("nonsense", 1)}]}, "op nonsense"),
            ({"derived": [{"name": "d", "type": "i32", "value": {"param": "other"}}]}, "param other"),
            ({"variants": [variant("v", splits=var("kvLen"))]}, "var kvLen"),
            ({"variants": [variant("v", entries=[{**variant("v")["entries"][0], "grid": [1, 1]}])]}, "2 rules"),
            ({"call": {"bytes": 8, "fields": [{"name": "q", "type": "pointer", "count": 2, "offset": 0}]}}, "call.q"),
        ):
            self.assertIn(words, self.refused(manifest(**changes), "not-an-artifact"))

    def test_programs(self):
        once = lambda kernel: [{"kind": "once", "kernel": kernel}]
        lost = stage_kernel("x")["buffers"][:6] + [{"role": "stored", "name": "nothing"}]
        grid = stage_kernel("x")["grid"]
        for changes, words in (
            ({"steps": [{"kind": "twice"}]}, "steps[0].kind"),
            ({"steps": once(stage_kernel("x", grid={**grid, "kind": "cubes"}))}, "grid.kind"),
            ({"steps": once(stage_kernel("x", grid={**grid, "units": var("rows")}))}, "var rows"),
            ({"steps": once(stage_kernel("x", when={"param": "nobody"}))}, "param nobody"),
            ({"steps": once(stage_kernel("x", buffers=lost))}, "stored nothing"),
            ({"steps": once({**stage_kernel("x"), "code": "other"})}, "text of x"),
            ({"stored": [{"name": "ids", "words": {"param": "rows.channels"}, "units": None}]}, "rows.channels"),
        ):
            self.assertIn(words, self.refused(manifest(**program(**changes)), "not-an-artifact"))
        made = manifest(**program())
        made["stages"]["variants"][0]["steps"][1]["kernel"]["cubins"] = [{"arch": "sm_80", "file": "x", "sha256": "0" * 64}]
        self.assertTrue(parse_artifact(made).is_program)  # cubins are added after the build
        made["stages"]["variants"][0]["align"] = 8
        self.refused(made, "artifact-hash", rehash=False)

    def test_infinite_bounds_are_null(self):
        table = {"name": "t", "type": "f32", "dims": ["head", 32], "min": None, "max": None, "monotone": False}
        parse_artifact(json.loads(json.dumps(manifest(tables=[table]))))


if __name__ == "__main__":
    unittest.main()
