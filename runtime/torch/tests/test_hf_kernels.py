"""The plug-in for transformers over the kernels themselves, on a GPU or the emulation, against plain attention in f64: padding,
caches and heads of several patterns, as a model's layers call them."""

from __future__ import annotations

import unittest
import warnings

try:
    import pytest
    import subject
except ImportError as e:
    raise unittest.SkipTest(str(e)) from e

import fake_transformers
import torch
from fake_transformers import Attention
from subject import DEVICE, UNIT

import heddle_torch as ht

WINDOW, SINKS, ROWS, FIRST = 20, 3, 100, 30
PARAMS = {"window": WINDOW, "sinkTokens": SINKS}


@pytest.fixture(autouse=True)
def registered():
    for name in ("a-shape", "streaming-heads"):
        subject.load(name)
    with fake_transformers.install(), warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("error", message="heddle.*dense attention")
        ht.register()
        yield


def drawn(spare=0):
    """q, k, v [batch, heads, rows, 64], the first as projections leave it; and a padding mask, left of the second text."""
    g = torch.Generator().manual_seed(1)
    make = lambda heads, rows: torch.randn(2, rows, heads, 64, generator=g).half().to(DEVICE).transpose(1, 2)
    mask = torch.ones(2, ROWS, device=DEVICE)
    mask[1, :FIRST] = 0
    return make(4, ROWS), make(2, ROWS + spare).contiguous(), make(2, ROWS + spare).contiguous(), mask


def check(out, q, k, v, window=WINDOW, sinks=SINKS):
    at = torch.arange(q.shape[2], device=DEVICE)[:, None] + k.shape[2] - q.shape[2]
    j = torch.arange(k.shape[2], device=DEVICE)
    seen = (j <= at) & ((at - j < window) | (j < sinks))
    want, _ = subject.attend(q, k, v, seen, 64**-0.5)
    plain, _ = subject.attend(q, k, v, seen, 64**-0.5, torch.float16)
    error = (out.double() - want).abs().max()
    allowed = 2 * (plain - want).abs().max() + 4 * UNIT[torch.float16] * want.abs().max()
    assert error <= allowed, f"error {error:.2e}, allowed {allowed:.2e}"


@pytest.mark.parametrize("spare", [0, 60], ids=["growing", "static"])
@pytest.mark.parametrize("rows", [1, 5, 40, ROWS])
def test_layer(rows, spare):
    q, k, v, mask = drawn(spare)
    layer = Attention("heddle:a-shape", sparse_attention={"params": PARAMS})
    at = torch.tensor([ROWS - rows], device=DEVICE) if spare else ROWS - rows
    keys = [t[:, :, :ROWS] for t in (k, v)]
    check(layer(q[:, :, -rows:], k, v, at=at), q[:, :, -rows:], *keys)
    out = layer(q[:, :, -rows:], k, v, mask, at=at)
    real = min(rows, ROWS - FIRST)
    check(out[:1], q[:1, :, -rows:], *(t[:1] for t in keys))
    check(out[1:, :, -real:], q[1:, :, -real:], *(t[1:, :, FIRST:] for t in keys))


def test_heads():
    q, k, v, mask = drawn()
    own = {"heads": "3", "pattern": "a-shape", "params": {"window": 9, "sinkTokens": 0}}
    params = {"retrieval": [1, 0, 0, 1], "recent": WINDOW, "sinkTokens": SINKS}
    layer = Attention("heddle:streaming-heads", sparse_attention={"params": params, "heads": [own]})
    out = layer(q, k, v, mask)
    for head, (window, sinks) in enumerate(((ROWS, 0), (WINDOW, SINKS), (WINDOW, SINKS), (9, 0))):
        one = [t[1:, h : h + 1, FIRST:] for t, h in ((q, head), (k, head // 2), (v, head // 2))]
        check(out[1:, head : head + 1, FIRST:], *one, window, sinks)
