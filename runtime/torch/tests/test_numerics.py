"""Every built pattern, every variant that fits, on random calls against attention under the pattern's own mask.

On a GPU; or with HEDDLE_EMULATED=1, slowly, on the CPU. HEDDLE_CASES: the folder that test/torch-cases.ts wrote (default:
out/torch-cases of the repository). For a GPU compile its kernels first, on all cores: python -m heddle_torch.precompile FOLDER
"""

from __future__ import annotations

import math
import unittest

try:
    import pytest
    import subject
except ImportError as e:
    raise unittest.SkipTest(str(e)) from e

import torch
from subject import CASES, DEVICE, DTYPES, UNIT, attend, compare, device, load, table_shape

import heddle_torch as ht
from heddle_torch.call import Sizes

if not CASES:
    raise unittest.SkipTest(f"{subject.FOLDER} has no cases")


def tables_of(case, p):
    c = case.call
    sizes = Sizes(*(c[n] for n in ("batch", "qHeads", "kvHeads", "qRows", "kvRows", "headDim", "valueDim")))
    flat, rows = case.tables(), case.rows()
    heads = next((rows[r["name"]].shape[1] for r in p.artifact.rows if r["share"] == "indexHead"), None)
    tables = {t["name"]: device(flat[t["name"]]).reshape(table_shape(t, sizes, heads)) for t in p.artifact.tables}
    return {**tables, **{name: device(t) for name, t in rows.items()}}


def laid_out(t, layout):
    return t.transpose(1, 2).contiguous().transpose(1, 2) if layout == "blhd" else t


def inputs(case, dtype):
    return [laid_out(device(x, dtype), case.call["layout"]) for x in case.qkv()]


def check(case, q, k, v, out, lse, dtype, what):
    oracle = case.oracle()
    eps = 4 * 2.0**-23
    if oracle is not None:
        ref, ref_lse, value_max, logit_max = oracle
        allowed = case.allowed()
        if allowed is not None:
            compare(out, device(ref).double(), allowed["out"], f"{what} out")
            # A gated sum has no lse.
            want = device(ref_lse).double()
            assert (lse.isnan() == want.isnan()).all(), f"{what}: not a number elsewhere"
            compare(lse.nan_to_num(0, None, -math.inf), want.nan_to_num(0, None, -math.inf), allowed["lse"], f"{what} lse")
            return
        compare(out, device(ref).double(), 2 * UNIT[dtype] * value_max, f"{what} out")
        compare(lse, device(ref_lse).double(), eps * 8 * (1 + logit_max), f"{what} lse")
        return
    mask = device(case.mask())
    want, want_lse = attend(q, k, v, mask, case.scale)
    usual, _ = attend(q, k, v, mask, case.scale, dtype)
    plain = (usual - want).abs().max().item()
    slack = eps * (1 + want_lse[want_lse.isfinite()].abs().max().item()) if want_lse.isfinite().any() else eps
    compare(out, want, 2 * plain + slack * v.double().abs().max().item(), f"{what} out")
    compare(lse, want_lse, 8 * slack, f"{what} lse")
    assert (out[want_lse.isneginf()] == 0).all(), f"{what}: an empty row's output is not 0"


def fitting(p, case, dtype_name):
    """Ids of the variants that may run a call."""
    dims = (case.headDim, case.valueDim)
    programs = [v["id"] for v in p.artifact.programs if (v["dtype"], v["headDim"], v["valueDim"]) == (dtype_name, *dims)]
    return programs + [
        v["id"]
        for v in p.artifact.variants
        if v["dtype"] == dtype_name and v["headDim"] >= case.headDim and v["valueDim"] >= case.valueDim
    ]


def calls():
    for case in CASES:
        # What an oracle's output was made for has its dtype.
        for name in DTYPES if case.oracle() is None else [case.call["dtype"]]:
            yield pytest.param(case, name, id=f"{case!r}-{name}")


@pytest.mark.parametrize("case,name", calls())
def test_numerics(case, name):
    p = load(case.pattern)
    dtype = DTYPES[name]
    q, k, v = inputs(case, dtype)
    named = dict(scale=case.call["scale"], lengths=case.lengths, params=case.params, **tables_of(case, p))
    ran = []
    for id in [None, *fitting(p, case, name)]:
        try:
            out, lse = ht.attention(q, k, v, p, variant=id, return_lse=True, **named)
        except ht.HeddleError as e:
            if id is not None and e.code == "no-variant":
                continue  # too many rows for it, an alignment or a device that it is not for
            raise
        check(case, q, k, v, out, lse, dtype, str(id))
        ran.append(id)
    assert None in ran
    if case.oracle() is None:
        check_set(case, p, q, k, named)
    if case.lengths is not None:
        check_leaks(case, p, q, k, v, named)


def check_set(case, p, q, k, named):
    """One-hot values: an output is positive exactly where the pair is kept."""
    mask = device(case.mask())
    for first in range(0, case.kvRows, case.valueDim):
        v = torch.zeros(case.batch, case.kvHeads, case.kvRows, case.valueDim, dtype=q.dtype, device=DEVICE)
        width = min(case.valueDim, case.kvRows - first)
        v[:, :, first : first + width, :width] = torch.eye(width, dtype=q.dtype, device=DEVICE)
        out = ht.attention(q, k, v, p, **{**named, "scale": 0.01})
        assert ((out[..., :width] > 0) == mask[..., first : first + width]).all()


def check_leaks(case, p, q, k, v, named):
    """What lies beyond the real keys is never seen, whatever it holds."""
    expected = ht.attention(q, k, v, p, return_lse=True, **named)
    k, v = k.clone(), v.clone()
    for b, length in enumerate(case.lengths):
        for t in (k, v):
            t[b, :, : length["kvStart"]] = math.nan
            t[b, :, length["kvStart"] + length["kvLen"] :] = math.inf
    got = ht.attention(q, k, v, p, return_lse=True, **named)
    assert all(torch.equal(a, b) for a, b in zip(got, expected))


def test_faster_and_plain_kernels_agree():
    """Where tensors are not aligned, a program's own kernels run in place of those of the newest devices."""
    case = next((c for c in CASES if c.pattern == "minference-vertical-slash"), None)
    if case is None:
        pytest.skip("there is no case of minference-vertical-slash")
    p = load(case.pattern)
    q, k, v = inputs(case, torch.float16)
    wide = torch.zeros(*q.shape[:3], q.shape[3] + 4, dtype=q.dtype, device=DEVICE)
    wide[..., : q.shape[3]] = q
    fast, slow = (ht.attention(x, k, v, p, return_lse=True, params=case.params) for x in (q, wide[..., : q.shape[3]]))
    compare(slow[0], fast[0].double(), 4 * UNIT[q.dtype] * v.abs().max().item(), "out")
    compare(slow[1], fast[1].double(), 1e-4, "lse")
