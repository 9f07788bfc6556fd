"""What only a GPU shows: graphs, compile, streams, devices, alignment, pages, the cache under two processes, host cost.

HEDDLE_CASES: the folder of artefacts that test/torch-cases.ts wrote (default: out/torch-cases of the repository).
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import unittest
from pathlib import Path

try:
    import pytest
    import subject
except ImportError as e:
    raise unittest.SkipTest(str(e)) from e

import torch
from subject import FOLDER, UNIT, attend, load

import heddle_torch as ht
from heddle_torch import debug

if subject.DEVICE != "cuda":
    raise unittest.SkipTest("there is no CUDA device")


def simple(name="a-shape", rows=200, kv=300, dim=64, dtype=torch.bfloat16, heads=(8, 2), batch=2):
    p = load(name)
    g = torch.Generator("cuda").manual_seed(1)
    make = lambda *shape: torch.randn(*shape, generator=g, device="cuda").to(dtype)
    return p, make(batch, heads[0], rows, dim), make(batch, heads[1], kv, dim), make(batch, heads[1], kv, dim)


def causal_mask(q, k, window=None):
    at = torch.arange(q.shape[2], device="cuda")[:, None] + k.shape[2] - q.shape[2]
    j = torch.arange(k.shape[2], device="cuda")[None]
    return (j <= at) & (True if window is None else at - j < window)


def assert_near(got, want, dtype=torch.bfloat16):
    torch.testing.assert_close(got.double(), want.double(), atol=4 * UNIT[dtype], rtol=4 * UNIT[dtype])


def test_strides_and_alignment():
    p, q, k, v = simple()
    expected = ht.attention(q, k, v, p, return_lse=True)
    pad = lambda t, n: torch.cat([t, t], -1)[..., n : n + t.shape[-1]]
    for change in (
        lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
        lambda t: torch.cat([t, t], -1)[..., : t.shape[-1]],
        lambda t: torch.cat([t[:, :, :1], t], 2)[:, :, 1:],
    ):
        got = ht.attention(change(q), change(k), change(v), p, return_lse=True)
        torch.testing.assert_close(got, expected, atol=1e-2, rtol=1e-2)
    # An odd address: the portable variant, in silence.
    odd = lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape)
    got = ht.attention(odd(q), odd(k), odd(v), p, return_lse=True)
    torch.testing.assert_close(got, expected, atol=1e-2, rtol=1e-2)
    shifted = pad(q, 1)
    want = ht.attention(shifted.contiguous(), k, v, p)
    torch.testing.assert_close(ht.attention(shifted, k, v, p), want, atol=1e-2, rtol=1e-2)


def test_broadcast_keys():
    p, q, k, v = simple("causal")
    one = [t[:1].expand(2, -1, -1, -1) for t in (k, v)]
    torch.testing.assert_close(ht.attention(q, *one, p), ht.attention(q, *(t.contiguous() for t in one), p))


def test_opcheck():
    p, q, k, v = simple()
    torch.library.opcheck(p.op, (q, k, v, 100, 8))
    torch.library.opcheck(p.op, (q.transpose(1, 2).contiguous().transpose(1, 2), k, v))
    p, q, k, v = simple("document")
    torch.library.opcheck(p.op, (q, k, v, torch.zeros(2, 300, dtype=torch.int32, device="cuda")))


def test_compile():
    p, q, k, v = simple("sliding-window")
    f = torch.compile(lambda q, k, v, w: ht.attention(q * 2, k, v, p, window=w) + 1, fullgraph=True)
    for window in (30, 40, 50):
        mask = causal_mask(q, k, window)
        assert_near(f(q, k, v, window), attend(q * 2, k, v, mask, q.shape[-1] ** -0.5)[0] + 1)
    fast = torch.compile(lambda q, k, v: ht.attention(q, k, v, p, window=60), fullgraph=True, mode="reduce-overhead")
    for q in (q, q[:, :, :1].contiguous()):
        for _ in range(4):
            got = fast(q, k, v).clone()
        assert_near(got, attend(q, k, v, causal_mask(q, k, 60), q.shape[-1] ** -0.5)[0])


@pytest.mark.parametrize("rows", [1, 200])
def test_graph_replays_with_other_params_and_lengths(rows):
    p, q, k, v = simple("sliding-window", rows=rows)
    state = ht.State.like(p, q, k, window=50)
    ht.attention(q, k, v, p, state=state)  # loads the kernel
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, lse = ht.attention(q, k, v, p, state=state, return_lse=True)
    for window, kv_len in ((50, 300), (7, 300), (90, 260), (50, 300)):
        state.update(window=window, lengths=[{"kvLen": kv_len}] * 2)
        graph.replay()
        kept = causal_mask(q, k[:, :, :kv_len], window)
        want = attend(q, k[:, :, :kv_len], v[:, :, :kv_len], kept, q.shape[-1] ** -0.5)
        assert_near(out, want[0])
        assert_near(lse, want[1])
    with pytest.raises(ht.HeddleError, match="Capture|capture"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        state.update(window=3)


def test_graph_reads_lengths_of_a_kernel():
    p, q, k, v = simple("causal", rows=1)
    rows = torch.tensor([[0, 199, 1, 0, 200]] * 2, dtype=torch.int32, device="cuda")
    state = ht.State.like(p, q, k, lengths=rows)
    ht.attention(q, k, v, p, state=state)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        rows[:, 1] += 1
        rows[:, 4] += 1
        out = ht.attention(q, k, v, p, state=state)
    for n in range(201, 205):
        graph.replay()
        mask = causal_mask(q, k[:, :, :n])
        assert_near(out, attend(q, k[:, :, :n], v[:, :, :n], mask, q.shape[-1] ** -0.5)[0])


def test_graph_of_constant_params():
    p, q, k, v = simple("document")
    doc = torch.arange(300, dtype=torch.int32, device="cuda").div(40, rounding_mode="floor").int().expand(2, 300).contiguous()
    expected = ht.attention(q, k, v, p, docId=doc)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = ht.attention(q, k, v, p, docId=doc)
    for _ in range(3):
        out.zero_()
        graph.replay()
        assert torch.equal(out, expected)


def test_capture_without_warm_up():
    p, q, k, v = simple("sliding-window")
    ht.attention(q, k, v, p, window=11)
    with pytest.raises(ht.HeddleError) as caught, torch.cuda.graph(torch.cuda.CUDAGraph()):
        ht.attention(q, k, v, p, window=12)
    assert caught.value.code == "capture"


@pytest.mark.parametrize("layout", ["HND", "NHD"])
@pytest.mark.parametrize("page", [1, 16, 24, 64])
def test_pages(layout, page):
    p, q, k, v = simple("a-shape", rows=3, kv=300)
    if not any(x["needs"]["pages"] for x in p.artifact.variants):
        pytest.skip("no variant reads pages")
    lengths = [{"kvLen": 290, "qStart": 287}, {"kvLen": 101, "qStart": 98}]
    want = ht.attention(q, k, v, p, lengths=lengths, window=60, sinkTokens=5, return_lse=True)
    per_row = -(-300 // page)
    count = 2 * per_row + 3
    table = torch.randperm(count, device="cuda")[: 2 * per_row].reshape(2, per_row).int()
    pools = []
    for t in (k, v):
        shape = (count, 2, page, 64) if layout == "HND" else (count, page, 2, 64)
        pool = torch.full(shape, math.nan, device="cuda", dtype=t.dtype)
        view = pool if layout == "HND" else pool.transpose(1, 2)
        for b in range(2):
            for j in range(lengths[b]["kvLen"]):
                view[table[b, j // page], :, j % page] = t[b, :, j]
        pools.append(view)
    got = ht.attention(q, *pools, p, pages=table, lengths=lengths, window=60, sinkTokens=5, return_lse=True)
    for a, b in zip(got, want):
        assert_near(a, b)


def test_direct_call_is_the_op():
    p, q, k, v = simple("sliding-window")
    with torch.profiler.profile():  # which wants to see the op
        through = ht.attention(q, k, v, p, window=40, return_lse=True)
    direct = ht.attention(q, k, v, p, window=40, return_lse=True)
    assert all(torch.equal(a, b) and a.stride() == b.stride() and a.device == b.device for a, b in zip(direct, through))


def test_streams():
    p, q, k, v = simple("document")
    doc = torch.zeros(2, 300, dtype=torch.int32, device="cuda")
    expected = ht.attention(q, k, v, p, docId=doc)
    decode = simple("causal", rows=1, kv=4096, heads=(8, 2))
    one = ht.attention(*decode[1:], decode[0])
    streams = [torch.cuda.Stream() for _ in range(4)]
    torch.cuda.synchronize()
    results = []
    for _ in range(10):
        for s in streams:
            with torch.cuda.stream(s):
                results.append((ht.attention(q, k, v, p, docId=doc), ht.attention(*decode[1:], decode[0])))
    torch.cuda.synchronize()
    for a, b in results:
        assert torch.equal(a, expected)
        torch.testing.assert_close(b, one)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device")
def test_devices():
    p, q, k, v = simple("causal")
    expected = ht.attention(q, k, v, p)
    assert torch.equal(ht.attention(*(t.to("cuda:1") for t in (q, k, v)), p).to("cuda:0"), expected)


COMPILE = """
import sys
sys.path.insert(0, sys.argv[1])
import heddle_torch as ht, torch
p = ht.load(sys.argv[2])
q = torch.randn(1, 2, 70, 64, device="cuda", dtype=torch.bfloat16)
print(float(ht.attention(q, q, q, p).float().abs().sum()) > 0)
"""


def test_two_processes_one_cache(tmp_path):
    package = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "HEDDLE_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE, package, str(FOLDER / "causal.json")]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    assert [s.communicate()[0].strip() for s in started] == [b"True", b"True"]
    (entry,) = tmp_path.glob("torch/*.cubin")
    entry.write_bytes(entry.read_bytes()[:-5])
    assert subprocess.check_output(command, env=environment).strip() == b"True"


def test_errors():
    p, q, k, v = simple()

    def code(*args, **named):
        with pytest.raises(ht.HeddleError) as caught:
            ht.attention(*args, **named)
        return caught.value.code

    assert code(q.cpu(), k, v, p) == "device"
    assert code(q, k.cpu(), v, p) == "device"
    assert code(q.float(), k.float(), v.float(), p) == "dtype"
    assert code(q, k.half(), v, p) == "dtype"
    assert code(q.requires_grad_(), k, v, p) == "grad"
    q = q.detach()
    assert code(q, k.mT.contiguous().mT, v, p) == "last-stride"
    assert code(q, k, v, p, lengths=[{"kvLen": -1}, {}]) == "length"
    assert code(q, k, v, p, lengths=[{"kvLen": 301}, {}]) == "length"
    assert code(q, k, v, p, wind=3) == "name-unknown"
    assert code(q, k, v, p, window=0) == "param-value"
    assert code(q, k, v, p, variant="none") == "no-variant"
    wide = q.new_zeros(1, 1, 4, 512)
    assert code(wide, wide, wide, p) == "no-variant"
    d, *qkv = simple("document")
    assert code(*qkv, d) == "table-missing"
    assert code(*qkv, d, docId=torch.zeros(2, 299, dtype=torch.int32, device="cuda")) == "shape"
    assert code(*qkv, d, docId=torch.zeros(2, 300, device="cuda")) == "dtype"
    assert code(*qkv, d, docId=torch.zeros(2, 300, dtype=torch.int32)) == "device"
    debug.set_debugging(True)
    try:
        pool = q.new_zeros(4, 2, 16, 64)
        table = torch.tensor([[0, 4], [1, 2]], dtype=torch.int32, device="cuda")
        assert code(q[:, :, :1], pool, pool, p, pages=table) == "page"
    finally:
        debug.set_debugging(False)
    with pytest.raises(ht.HeddleError, match="cpu"):
        p.op(q.cpu(), k.cpu(), v.cpu())


def test_host_cost():
    from heddle_torch.hostcost import measure

    for name, cost in measure(load("a-shape")).items():
        assert cost <= 40, f"{name}: {cost:.1f} us a call"
