"""Cubins beside a manifest, NVRTC's texts and errors, the cache: damage, two processes at once, no compiler at all."""

import ctypes
import hashlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from handmade import manifest, program, stage_kernel, variant, write

from heddle_torch import compiler, nvrtc
from heddle_torch.artifact import parse_artifact
from heddle_torch.cache import Cache
from heddle_torch.errors import HeddleError
from heddle_torch.precompile import manifests, texts_for

KERNEL = 'extern "C" __global__ void attend(int* p) { *p = %d; }'


class FakeNvrtc:
    """Counts compilations in a file, so that processes can be counted too."""

    version = (13, 0)

    def __init__(self, count):
        self.count = count

    def architectures(self):
        return [80, 86, 89, 90]

    def compile(self, text, name, options, ptx=False):
        with open(self.count, "a") as f:
            f.write("x")
        if "broken" in text:
            raise nvrtc.NvrtcFailed("NVRTC_ERROR_COMPILATION", f"{name}(2): error: no\n1 error")
        return f"{options[0]} {ptx} {text}".encode()


def compile_beside(folder, results):
    artifact = parse_artifact(manifest())
    with mock.patch.object(compiler, "nvrtc", lambda: FakeNvrtc(Path(folder) / "count")):
        results.put(compiler.machine_code(artifact, artifact.variants[0], 90, Cache(Path(folder))))


class Compiling(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.cache = Cache(self.folder)
        self.count = self.folder / "count"
        patch = mock.patch.object(compiler, "nvrtc", lambda: FakeNvrtc(self.count))
        patch.start()
        self.addCleanup(patch.stop)

    def test_what_is_compiled_ahead(self):
        """Of a program's kernel what stands in for it where the device takes that."""
        stands = {"lists": [], "order": None, "before": None, "state": None, "keys": None, "records": None}
        fast = {**stands, "variant": variant("fast", "fast text", capability={"min": 90, "max": 90}, suffix="a")}
        steps = [{"kind": "once", "kernel": stage_kernel("one", faster=[fast])}, {"kind": "once", "kernel": stage_kernel("two")}]
        a = parse_artifact(manifest(**program(steps=steps)))
        for capability, texts in ((80, ["one", "two"]), (90, ["fast", "two"])):
            self.assertEqual([t["id"] for t in texts_for(a, capability)], texts)
        for text in texts_for(a, 90):
            compiler.machine_code(a, text, 90, self.cache)
        self.assertEqual(self.compilations(), 2)

    def test_manifests_are_found(self):
        for name in ("a.json", "b.cuda.json", "a.cases.json", "b.bin"):
            (self.folder / name).write_text("{}")
        self.assertEqual([p.name for p in manifests([str(self.folder)])], ["a.json", "b.cuda.json"])

    def compilations(self):
        return len(self.count.read_text()) if self.count.exists() else 0

    def code(self, capability=90, **changes):
        a = parse_artifact(manifest(variants=[variant("v", **changes)]), folder=self.folder)
        return compiler.machine_code(a, a.variants[0], capability, self.cache)

    def test_cached_by_content(self):
        self.assertEqual(self.code(), self.code())
        self.assertEqual(self.compilations(), 1)
        self.code(code="// another text")
        self.code(capability=80)
        self.assertEqual(self.compilations(), 3)

    def test_architectures(self):
        self.assertIn(b"sm_90a False", self.code(suffix="a"))
        self.assertIn(b"sm_86 False", self.code(capability=86))
        # Newer than the compiler: PTX of the newest that it knows.
        self.assertIn(b"compute_90 True", self.code(capability=100))

    def test_damaged_entries_are_made_anew(self):
        made = self.code()
        (path,) = self.cache.folder.glob("*.cubin")
        for damage in (b"", b"short", path.read_bytes()[:-1], path.read_bytes()[:-1] + b"?"):
            path.write_bytes(damage)
            self.assertEqual(self.code(), made)
        self.assertEqual(self.compilations(), 5)

    def test_a_cache_that_cannot_be_written(self):
        (self.folder / "torch").write_text("a file where the folder should be")
        self.assertEqual(self.code(), self.code())

    def test_processes_share_one_compilation(self):
        context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
        results = context.Queue()
        workers = [context.Process(target=compile_beside, args=(str(self.folder), results)) for _ in range(4)]
        for w in workers:
            w.start()
        made = {results.get(timeout=30) for _ in workers}
        for w in workers:
            w.join()
        self.assertEqual(len(made), 1)
        self.assertEqual(self.compilations(), 1)
        self.assertEqual([p.suffix for p in self.cache.folder.iterdir() if p.suffix not in (".cubin", ".lock")], [])

    def cubin(self, arch, data=b"machine code", sha=None):
        path = self.folder / f"{arch}.cubin"
        path.write_bytes(data)
        return {"arch": arch, "file": path.name, "sha256": sha or hashlib.sha256(data).hexdigest(), "resources": []}

    def test_cubins(self):
        cubins = [self.cubin("sm_80", b"80"), self.cubin("sm_86", b"86"), self.cubin("sm_90a", b"90a")]
        self.assertEqual(self.code(capability=89, cubins=cubins), b"86")
        self.assertEqual(self.code(capability=80, cubins=cubins), b"80")
        self.assertEqual(self.code(capability=90, cubins=cubins), b"90a")
        self.assertEqual(self.compilations(), 0)
        self.assertIn(b"sm_90 ", self.code(capability=90, cubins=cubins[:2]))

    def test_wrong_cubins(self):
        damaged = self.cubin("sm_90", sha="0" * 64)
        self.assertIn(b"sm_90 ", self.code(cubins=[damaged]))
        gone = {**damaged, "file": "gone.cubin"}
        self.assertIn(b"sm_90 ", self.code(cubins=[gone]))
        missing = mock.Mock(side_effect=nvrtc.NvrtcMissing("tried libnvrtc.so"))
        with mock.patch.object(compiler, "nvrtc", missing):
            text = self.refused("no-nvrtc", capability=89, cubins=[{**damaged, "arch": "sm_86"}])
            self.assertIn("SHA-256", text)
            text = self.refused("no-nvrtc", capability=100, cubins=[self.cubin("sm_80")])
            for word in ("hand-made", "variant v", "sm_100", "the build has sm_80", "tried libnvrtc.so"):
                self.assertIn(word, text)

    def refused(self, expected, **named):
        with self.assertRaises(HeddleError) as caught:
            self.code(**named)
        self.assertEqual(caught.exception.code, expected)
        return str(caught.exception)

    def test_failure_names_pattern_variant_and_line(self):
        text = self.refused("nvrtc", code="first\n  the broken line\n")
        for word in ("hand-made", "variant v", "sm_90", "NVRTC_ERROR_COMPILATION", "error: no", "    the broken line"):
            self.assertIn(word, text)

    def test_debug_text(self):
        self.assertEqual(compiler.debug_text("constexpr bool DEBUG = false;"), "constexpr bool DEBUG = true;")


class Library(unittest.TestCase):
    def test_none_found(self):
        with mock.patch.dict(os.environ, {"HEDDLE_NVRTC": "/no/such/libnvrtc.so"}), self.assertRaises(nvrtc.NvrtcMissing) as caught:
            nvrtc.Nvrtc()
        self.assertIn("/no/such/libnvrtc.so", str(caught.exception))

    def test_real_one(self):
        try:
            library = nvrtc.Nvrtc()
        except nvrtc.NvrtcMissing as e:
            self.skipTest(str(e))
        self.assertEqual(library.compile(KERNEL % 1, "k.cu", compiler.options_of("sm_90a"))[:4], b"\x7fELF")
        self.assertIn(b".target sm_90", library.compile(KERNEL % 1, "k.cu", compiler.options_of("compute_90"), ptx=True))
        with self.assertRaises(nvrtc.NvrtcFailed) as caught:
            library.compile("\n\nint x = y;", "k.cu", compiler.options_of("sm_80"))
        log = compiler.with_source_lines(caught.exception.log, "\n\nint x = y;", "k.cu")
        self.assertIn("k.cu(3)", log)
        self.assertEqual(log.count("int x = y;"), log.count("): error"))


class Precompile(unittest.TestCase):
    def run_it(self, folder, *args):
        command = [sys.executable, "-m", "heddle_torch.precompile", folder, "--jobs", "1", *args]
        env = {**os.environ, "HEDDLE_NVRTC": "/no/such/libnvrtc.so", "PYTHONPATH": str(Path(compiler.__file__).parent.parent)}
        return subprocess.run(command, env=env, capture_output=True, text=True)

    def test_command(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "k.cubin").write_bytes(b"code")
            cubin = {"arch": "sm_80", "file": "k.cubin", "sha256": hashlib.sha256(b"code").hexdigest(), "resources": []}
            write(Path(folder), manifest(variants=[variant("v", cubins=[cubin])]))
            (Path(folder) / "other.cases.json").write_text("{}")  # no manifest by its name
            done = self.run_it(folder, "--capability", "86")
            self.assertEqual((done.returncode, done.stdout[:24]), (0, "1 kernels ready, 0 faile"), done.stderr)
            done = self.run_it(folder, "--capability", "90")
            self.assertEqual(done.returncode, 1)
            self.assertIn("there is no cubin for sm_90", done.stderr)


class Driver(unittest.TestCase):
    def test_maps_are_aligned(self):
        from heddle_torch.driver import TensorMap

        for _ in range(8):
            made = TensorMap()
            start = ctypes.addressof(made.memory)
            self.assertEqual(made.address % 64, 0)
            self.assertTrue(start <= made.address and made.address + 128 <= start + len(made.memory))


if __name__ == "__main__":
    unittest.main()
