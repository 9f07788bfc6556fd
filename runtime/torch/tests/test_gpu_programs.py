"""Programs of several kernels where only a GPU shows it: graphs, compile, streams, threads, and memory that is not there.

HEDDLE_CASES: the folder of artefacts that test/torch-cases.ts wrote (default: out/torch-cases of the repository).
"""

from __future__ import annotations

import threading
import unittest

try:
    import pytest
    import subject
except ImportError as e:
    raise unittest.SkipTest(str(e)) from e

import torch
from subject import load

import heddle_torch as ht

if subject.DEVICE != "cuda":
    raise unittest.SkipTest("there is no CUDA device")

NAMES = ("minference-vertical-slash", "minference-block", "moba", "anchor")


def tensors(rows=400, dim=64, heads=(8, 2), dtype=torch.bfloat16, seed=1):
    g = torch.Generator("cuda").manual_seed(seed)
    make = lambda n: torch.randn(1, n, rows, dim, generator=g, device="cuda").to(dtype)
    return make(heads[0]), make(heads[1]), make(heads[1])


@pytest.mark.parametrize("name", NAMES)
def test_graph(name):
    """A replay reads what q, k and v hold then, and chooses anew."""
    p = load(name)
    q, k, v = tensors()
    ht.attention(q, k, v, p)  # loads the kernels
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, lse = ht.attention(q, k, v, p, return_lse=True)
    for seed in (1, 2, 3):
        for t, other in zip((q, k, v), tensors(seed=seed)):
            t.copy_(other)
        out.zero_()
        graph.replay()
        expected = ht.attention(q, k, v, p, return_lse=True)
        torch.testing.assert_close((out, lse), expected, atol=1e-2, rtol=1e-2)
    with pytest.raises(ht.HeddleError, match="capture"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        ht.attention(q[:, :, :77], k, v, p)


@pytest.mark.parametrize("name", NAMES)
def test_compile(name):
    p = load(name)
    for mode in (None, "reduce-overhead"):
        f = torch.compile(lambda q, k, v: ht.attention(q * 2, k, v, p) + 1, fullgraph=True, mode=mode)
        for seed in (1, 2, 3):
            q, k, v = tensors(seed=seed)
            torch.compiler.cudagraph_mark_step_begin()
            got = f(q, k, v).clone()
            torch.testing.assert_close(got, ht.attention(q * 2, k, v, p) + 1, atol=2e-2, rtol=2e-2)


def test_opcheck():
    p = load("moba")
    q, k, v = tensors()
    torch.library.opcheck(p.op, (q, k, v))
    torch.library.opcheck(p.op, (q.transpose(1, 2).contiguous().transpose(1, 2), k, v))


def test_streams_and_threads():
    """Calls at once, each on a stream of its own, do not share a workspace."""
    p = load("minference-vertical-slash")
    inputs = [tensors(rows=1500, seed=i) for i in range(4)]
    expected = [ht.attention(*x, p) for x in inputs]
    torch.cuda.synchronize()
    wrong = []

    def work(i):
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(20):
                if not torch.allclose(ht.attention(*inputs[i], p), expected[i], atol=1e-2, rtol=1e-2):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_lengths_are_a_call_for_each_entry():
    p = load("minference-vertical-slash")
    q, k, v = (torch.cat([t, t]) for t in tensors())
    out, lse = ht.attention(q, k, v, p, return_lse=True, lengths=[{}, {"qRow": 111, "kvStart": 111}])
    alone = [ht.attention(*(t[:1] for t in (q, k, v)), p, return_lse=True)]
    alone.append(ht.attention(*(t[:1, :, 111:] for t in (q, k, v)), p, return_lse=True))
    torch.testing.assert_close((out[:1], lse[:1]), alone[0], atol=1e-2, rtol=1e-2)
    torch.testing.assert_close((out[1:, :, 111:], lse[1:, :, 111:]), alone[1], atol=1e-2, rtol=1e-2)
    assert (out[1, :, :111] == 0).all() and lse[1, :, :111].isneginf().all()


def test_no_wait_for_the_device():
    p = load("minference-vertical-slash")
    q, k, v = tensors()
    ht.attention(q, k, v, p)
    torch.cuda.set_sync_debug_mode("error")
    try:
        ht.attention(q, k, v, p)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_that_is_not_there():
    """A share of the GPU's memory that q, k, v and the output fit into, and the workspace does not."""
    p = load("anchor")
    q, k, v = tensors(rows=16384, heads=(32, 8))
    ht.attention(q[:, :, :64], k[:, :, :64], v[:, :, :64], p)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    try:
        torch.cuda.set_per_process_memory_fraction((held + 2**27) / total)
        with pytest.raises(ht.HeddleError, match=r"hand on \d+ bytes in one workspace"):
            ht.attention(q, k, v, p)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert ht.attention(q, k, v, p).isfinite().all()
