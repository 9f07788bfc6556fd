"""What decode-probe.ts wrote in; error against PyTorch and time of every shape of the decode skeleton on this GPU out, as text.

python3 bench/cuda/decode_probe.py out/decode-probe.json   (nvcc, PyTorch and a GPU of capability 8.0 or later)
"""

from __future__ import annotations

import ctypes
import json
import math
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

LIBCUDA = ctypes.CDLL("libcuda.so.1")
OPS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floorDiv": lambda a, b: a // b,
    "min": min,
    "max": max,
    "le": lambda a, b: a <= b,
    "select": lambda c, a, b: a if c else b,
}
PACK = {"pointer": "<Q", "i64": "<q", "i32": "<i", "f32": "<f"}


def rule(e: Any, sizes: Dict[str, int]) -> int:
    if not isinstance(e, dict):
        return int(e)
    if "var" in e:
        return sizes[e["var"]]
    return OPS[e["op"]](*(rule(x, sizes) for x in e["src"]))


def check(status: int, what: str) -> None:
    if status != 0:
        text = ctypes.c_char_p()
        LIBCUDA.cuGetErrorString(status, ctypes.byref(text))
        raise RuntimeError(f"{what}: {(text.value or b'').decode()}")


def compile_text(kernel: Dict[str, Any]) -> Tuple[bytes, str]:
    major, minor = torch.cuda.get_device_capability()
    arch = "90a" if major == 9 else f"{major}{minor}"
    with tempfile.TemporaryDirectory() as folder:
        text, cubin = Path(folder) / "k.cu", Path(folder) / "k.cubin"
        text.write_text(kernel["variant"]["code"])
        flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}", "-std=c++17", "-cubin", "-Xptxas", "-v"]
        done = subprocess.run(["nvcc", *flags, "-o", str(cubin), str(text)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        used = [line.split("Used ")[1].split(",")[0] for line in done.stderr.splitlines() if "Used " in line]
        spills = [line.strip() for line in done.stderr.splitlines() if "spill" in line and "0 bytes spill stores" not in line]
        return cubin.read_bytes(), ", ".join(used + spills)


class Kernel:
    def __init__(self, call: Dict[str, Any], kernel: Dict[str, Any], cubin: bytes) -> None:
        self.call, self.variant, self.params = call, kernel["variant"], kernel["params"]
        self.module = ctypes.c_void_p()
        check(LIBCUDA.cuModuleLoadData(ctypes.byref(self.module), cubin), "load")
        self.functions = []
        for entry in self.variant["entries"]:
            function = ctypes.c_void_p()
            check(LIBCUDA.cuModuleGetFunction(ctypes.byref(function), self.module, entry["name"].encode()), entry["name"])
            if entry["sharedBytes"] > 48 * 1024:
                check(LIBCUDA.cuFuncSetAttribute(function, 8, entry["sharedBytes"]), "shared memory")
            self.functions.append(function)

    def prepare(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        params: Dict[str, int],
        pages: Optional[torch.Tensor] = None,
        lengths: Optional[torch.Tensor] = None,
        splits: Optional[int] = None,
    ) -> "Prepared":
        """q [batch, heads, rows, dim]; k, v the same, or [pages, heads, rows of a page, dim] by strides."""
        batch, q_heads, q_rows, head_dim = q.shape
        kv_heads, value_dim = k.shape[1], v.shape[3]
        kv_rows = k.shape[2] if pages is None else pages.shape[1] * k.shape[2]
        if lengths is None:
            lengths = torch.tensor([[0, kv_rows - q_rows, q_rows, 0, kv_rows]] * batch, dtype=torch.int32, device="cuda")
        sizes = dict(batch=batch, qHeads=q_heads, kvHeads=kv_heads, group=q_heads // kv_heads, qRows=q_rows, kvRows=kv_rows)
        sizes.update(headDim=head_dim, valueDim=value_dim)
        sizes["multiprocessors"] = torch.cuda.get_device_properties(0).multi_processor_count
        sizes["splits"] = splits or rule(self.variant["splits"], sizes)
        out = torch.full((batch, q_heads, q_rows, value_dim), math.nan, dtype=q.dtype, device="cuda")
        lse = torch.full((batch, q_heads, q_rows), math.nan, dtype=torch.float32, device="cuda")
        scratch = torch.empty(max(1, rule(self.variant["workspace"]["scratch"], sizes)), dtype=torch.uint8, device="cuda")
        counters = torch.zeros(4, dtype=torch.uint8, device="cuda")
        values = torch.tensor([params[name] for name in self.params] or [0], dtype=torch.int32, device="cuda")
        whole = all(t.data_ptr() % 16 == 0 and all(s % 8 == 0 for s in t.stride()[:3]) for t in (q, k, v, out))
        fields: Dict[str, Any] = dict(sizes)
        for name, t in dict(q=q, k=k, v=v, out=out, lse=lse, lengths=lengths, values=values, scratch=scratch, counters=counters).items():
            fields[name] = t.data_ptr()
        for name, t in dict(qStride=q, kStride=k, vStride=v, outStride=out).items():
            fields[name] = list(t.stride()[:3])
        fields.update(pages=0 if pages is None else pages.data_ptr(), list=0, tables=[0], listStride=0)
        fields.update(pageSize=0 if pages is None else k.shape[2], pageStride=0 if pages is None else pages.shape[1])
        fields.update(pageCount=0 if pages is None else k.shape[0], vectors=int(whole), scale=head_dim**-0.5)
        packed = bytearray(self.call["bytes"])
        for field in self.call["fields"]:
            given = fields[field["name"]]
            for i, x in enumerate(given if isinstance(given, list) else [given]):
                struct.pack_into(PACK[field["type"]], packed, field["offset"] + 8 * i, x)
        return Prepared(self, sizes, bytes(packed), out, lse, [q, k, v, lengths, values, scratch, counters, pages])


class Prepared:
    def __init__(self, kernel: Kernel, sizes: Dict[str, int], packed: bytes, out: torch.Tensor, lse: torch.Tensor, kept: Sequence[Any]) -> None:
        self.out, self.lse, self.kept, self.splits = out, lse, kept, sizes["splits"]
        self.bytes = ctypes.create_string_buffer(packed, len(packed))
        self.arguments = (ctypes.c_void_p * 1)(ctypes.addressof(self.bytes))
        self.launches = []
        for entry, function in zip(kernel.variant["entries"], kernel.functions):
            grid = [rule(g, sizes) for g in entry["grid"]]
            if 0 not in grid:
                self.launches.append((function, grid, entry["threads"], entry["sharedBytes"]))

    def run(self) -> None:
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        for function, grid, threads, shared in self.launches:
            status = LIBCUDA.cuLaunchKernel(function, *grid, threads, 1, 1, shared, stream, self.arguments, None)
            check(status, "launch")


def milliseconds(run: Any, rounds: int = 30) -> float:
    """The median of runs that find nothing of their tensors in the second-level cache."""
    trash = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    times: List[Tuple[torch.cuda.Event, torch.cuda.Event]] = []
    for _ in range(3):
        run()
    for _ in range(rounds):
        trash.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        times.append((begin, end))
    torch.cuda.synchronize()
    return sorted(b.elapsed_time(e) for b, e in times)[rounds // 2]


def truth(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    group = q.shape[1] // k.shape[1]
    k, v = k.double().repeat_interleave(group, 1), v.double().repeat_interleave(group, 1)
    s = (q.double() @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    s = s.masked_fill(~keep, -math.inf)
    lse = s.logsumexp(-1)
    return torch.nan_to_num(s.sub(torch.where(lse == -math.inf, 0.0, lse)[..., None]).exp()) @ v, lse


def kept(pattern: str, q_rows: int, kv_rows: int, params: Dict[str, int]) -> torch.Tensor:
    q = torch.arange(kv_rows - q_rows, kv_rows, device="cuda")[:, None]
    kv = torch.arange(kv_rows, device="cuda")[None, :]
    keep = kv <= q
    if pattern == "a-shape":
        keep &= (q - kv < params["window"]) | (kv < params["sinkTokens"])
    return keep


def random_tensor(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.bfloat16, device="cuda")


def correctness(kernel: Kernel, pattern: str, head_dim: int) -> float:
    worst = 0.0
    cases = [(1, 32, 8, 1, 5000), (2, 8, 8, 7, 1000), (2, 32, 4, 16, 777), (1, 48, 2, 2, 64), (3, 6, 3, 4, 4)]
    for batch, heads, kv_heads, q_rows, kv_rows in cases:
        for dim in (head_dim, head_dim - 24, head_dim - 27):
            for size in (None, 1, 16, 17, 64):
                for splits in (None, 1, 5):
                    params = dict(window=300, sinkTokens=70)
                    q, k, v = random_tensor(batch, heads, q_rows, dim), random_tensor(batch, kv_heads, kv_rows, dim), random_tensor(batch, kv_heads, kv_rows, dim)
                    pages, k_in, v_in = None, k, v
                    if size is not None:
                        count = -(-kv_rows // size)
                        order = torch.randperm(2 * batch * count, device="cuda")[: batch * count]
                        k_in, v_in = (torch.full((2 * batch * count, size, kv_heads, dim), math.nan, dtype=q.dtype, device="cuda") for _ in range(2))
                        for paged, plain in ((k_in, k), (v_in, v)):
                            padded = torch.full((batch, kv_heads, count * size, dim), math.nan, dtype=q.dtype, device="cuda")
                            padded[:, :, :kv_rows] = plain
                            paged[order] = padded.view(batch, kv_heads, count, size, dim).permute(0, 2, 3, 1, 4).reshape(-1, size, kv_heads, dim)
                        k_in, v_in = k_in.transpose(1, 2), v_in.transpose(1, 2)
                        pages = order.view(batch, count).int()
                    lengths = torch.tensor([[0, kv_rows - q_rows, q_rows, 0, kv_rows]] * batch, dtype=torch.int32, device="cuda")
                    ready = kernel.prepare(q, k_in, v_in, params, pages, lengths, splits)
                    ready.run()
                    torch.cuda.synchronize()
                    out, lse = truth(q, k, v, kept(pattern, q_rows, kv_rows, params))
                    error = (ready.out.double() - out).abs().max().item() / out.abs().max().item()
                    if not (error < 0.01 and (ready.lse.double() - lse).abs().max().item() < 1e-3):
                        print(f"  WRONG: {(batch, heads, kv_heads, q_rows, kv_rows)} dim {dim} pages {size} splits {splits}: {error}")
                    worst = max(worst, error) if error == error else math.inf
    return worst


SPEED = [
    ("B=1 S=128k dense", 1, 131072, "causal", {}, 1),
    ("B=16 S=32k dense", 16, 32768, "causal", {}, 1),
    ("B=16 S=32k dense, 4 query rows", 16, 32768, "causal", {}, 4),
    ("B=16 S=32k a-shape 128 + 1024", 16, 32768, "a-shape", dict(sinkTokens=128, window=1024), 1),
    ("B=1 S=128k a-shape 128 + 1024", 1, 131072, "a-shape", dict(sinkTokens=128, window=1024), 1),
]


def speed(kernel: Kernel, pattern: str, head_dim: int) -> None:
    heads, kv_heads = 32, 8
    for name, batch, rows, wanted, params, q_rows in SPEED:
        if wanted != pattern:
            continue
        q, k, v = random_tensor(batch, heads, q_rows, head_dim), random_tensor(batch, kv_heads, rows, head_dim), random_tensor(batch, kv_heads, rows, head_dim)
        keys = rows if not params else params["sinkTokens"] + params["window"]
        moved = 2 * 2 * batch * kv_heads * keys * head_dim
        usual = kernel.prepare(q, k, v, params).splits
        for splits in sorted({usual, max(1, usual // 2), min(128, 2 * usual), min(128, 4 * usual)}):
            ready = kernel.prepare(q, k, v, params, splits=splits)
            ms = milliseconds(ready.run)
            mark = "*" if splits == usual else " "
            print(f"  {mark} {name}, {splits} splits: {ms * 1e3:.1f} us, {moved / ms / 1e9:.2f} TB/s", flush=True)
        if not params and q_rows == 1:
            paged_k, paged_v = (t.view(batch, kv_heads, rows // 16, 16, head_dim).permute(0, 2, 3, 1, 4).reshape(-1, 16, kv_heads, head_dim).transpose(1, 2) for t in (k, v))
            pages = torch.arange(batch * rows // 16, device="cuda", dtype=torch.int32).view(batch, -1)
            ms = milliseconds(kernel.prepare(q, paged_k, paged_v, params, pages).run)
            print(f"    {name}, pages of 16, NHD: {ms * 1e3:.1f} us, {moved / ms / 1e9:.2f} TB/s", flush=True)


def main() -> None:
    torch.manual_seed(0)
    torch.zeros(1, device="cuda")
    probe = json.loads(Path(sys.argv[1]).read_text())
    print(torch.cuda.get_device_name())
    with ThreadPoolExecutor(8) as pool:
        compiled = list(pool.map(compile_text, probe["kernels"]))
    for record, (cubin, resources) in zip(probe["kernels"], compiled):
        variant = record["variant"]
        attend = next(e for e in variant["entries"] if e["name"] == "attend")
        kernel = Kernel(probe["call"], record, cubin)
        print(f"{record['pattern']} {variant['id']} shape {record['shape']}: {attend['threads']} threads, {attend['sharedBytes']} bytes; {resources}")
        print(f"  greatest relative error {correctness(kernel, record['pattern'], variant['headDim']):.2e}")
        speed(kernel, record["pattern"], variant["headDim"])


if __name__ == "__main__":
    main()
