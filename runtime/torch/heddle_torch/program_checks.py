"""A program's call checked: tensors, rows and sizes in; the program that is built for them, or the error that says what is wrong, out."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import torch

from .artifact import Artifact
from .call import Sizes
from .errors import HeddleError
from .plan import check_table


def choose_program(artifact: Artifact, dtype: str, sizes: Sizes, capability: int, only: Optional[str]) -> Dict[str, Any]:
    """The first of the call's dims and type. `only`: by id."""
    if capability < 80:
        raise HeddleError("old-gpu", got=divmod(capability, 10))
    for p in artifact.programs:
        fits = (p["dtype"], p["headDim"], p["valueDim"]) == (dtype, sizes.head_dim, sizes.value_dim)
        able = p["capability"]["min"] <= capability <= p["capability"]["max"]
        if fits and able and only in (None, p["id"]):
            return p
    wanted = f"{dtype}, {sizes.text()}{f', called {only}' if only else ''}"
    reasons = [f"{p['id']} is for {p['dtype']} and head dims {p['headDim']}/{p['valueDim']} alone" for p in artifact.programs]
    raise HeddleError("no-variant", pattern=artifact.pattern, wanted=wanted, reasons=reasons)


def check_aligned(tensors: Mapping[str, Tuple[int, Sequence[int], Sequence[int]]], align: int) -> None:
    """Programs read halves in pairs and in vectors. `tensors`: pointer, shape and strides by name."""
    multiple = max(2, align)
    for name, (pointer, shape, strides) in tensors.items():
        if pointer % (2 * multiple):
            raise HeddleError("alignment", tensor=name, what="its address", multiple=2 * multiple, got=pointer)
        for axis, n, stride in zip(("batch", "head", "row"), shape, strides):
            if n > 1 and stride % multiple:
                raise HeddleError("alignment", tensor=name, what=f"its {axis} stride in elements", multiple=multiple, got=stride)


def check_rows(artifact: Artifact, rows: Sequence[Any], sizes: Sizes, device: torch.device) -> int:
    """Rows that a program declares are of the call's sizes. Returns how many index heads there are."""
    index_heads = 0
    for info, t in zip(artifact.rows, rows):
        if not isinstance(t, torch.Tensor):
            raise HeddleError("tensor", tensor=info["name"], got=type(t).__name__)
        own = {"head": sizes.q_heads, "kvHead": sizes.kv_heads, "request": 1, "indexHead": index_heads}[info["share"]]
        tokens = 1 if info["grain"] == "whole" else sizes.q_rows if info["side"] == "q" else sizes.kv_rows
        got = list(t.shape) + [0] * (4 - t.dim())
        expected = [sizes.batch, own or got[1], tokens, got[3]]
        check_table(info["name"], t, torch.float32, ["batch", info["share"], "tokens", "channels"], expected, device)
        if info["share"] == "indexHead":
            index_heads = got[1]
    return index_heads
