"""A pattern's calls on tensors: the plan of each kind of call is made once, then a call patches pointers and launches."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from . import buffers, debug
from .artifact import Artifact
from .call import Layout
from .driver import INVALID_CONTEXT, driver
from .errors import HeddleError
from .gpu import gpu
from .plan import Modules, Plan

KEPT_PLANS = 4096

# What follows the params among the arguments of an op, with their defaults; ops.py prints the schema from it.
TAIL = (
    ("float? scale", None),
    ("SymInt[]? lengths", None),
    ("Tensor? length_rows", None),
    ("Tensor? values", None),
    ("Tensor? pages", None),
    ("str? variant", None),
)


def _of_table(t: Any) -> Any:
    return (t.shape, t.dtype, t.get_device(), t.is_contiguous()) if isinstance(t, torch.Tensor) else t


class Runner:
    """All calls of one artefact."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.layout = Layout(artifact.record["call"])
        self._modules = Modules(artifact)
        self._plans: Dict[Any, Plan] = {}
        self._tables = len(artifact.tables)
        self._params = self._tables + len(artifact.params)
        self._per_head = any(p["perHead"] for p in artifact.params)
        slots = self.layout.slots
        self._slots = tuple(slots[n] for n in ("q", "k", "v", "out", "lse", "lengths", "values"))
        self._work_slots = (slots["counters"], slots["list"], slots["scratch"], slots["pages"], slots["tables"])

    def run(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rest: Sequence[Any]) -> Tuple[torch.Tensor, torch.Tensor]:
        """`rest`: tables, params, then the values of TAIL."""
        tables = rest[: self._tables]
        params = rest[self._tables : self._params]
        scale, lengths, length_rows, values, pages, variant = rest[self._params :]
        if self._per_head:
            params = tuple(tuple(p) if isinstance(p, list) else p for p in params)
        qp, kp, vp = q.data_ptr(), k.data_ptr(), v.data_ptr()
        index = q.get_device()
        key = (
            q.shape, q.stride(), q.dtype, index,
            k.shape, k.stride(), k.dtype, k.get_device(),
            v.shape, v.stride(), v.dtype, v.get_device(),
            (qp | kp | vp) & 15, tuple(params), scale, variant,
            None if lengths is None else tuple(lengths),
            None if length_rows is None else _of_table(length_rows),
            None if values is None else _of_table(values),
            None if pages is None else _of_table(pages),
            tuple([_of_table(t) for t in tables]) if tables else None,
            debug.debugging(),
        )  # fmt: skip
        if gpu.kind == "cuda" and index >= 0 and index != gpu.current():
            with gpu.guard(index):
                return self._run(key, q, k, v, qp, kp, vp, tables, params, scale, lengths, length_rows, values, pages, variant)
        return self._run(key, q, k, v, qp, kp, vp, tables, params, scale, lengths, length_rows, values, pages, variant)

    def _run(
        self, key, q, k, v, qp, kp, vp, tables, params, scale, lengths, length_rows, values, pages, variant
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plan(key, q, k, v, tables, params, scale, lengths, length_rows, values, pages, variant)
        out = q.new_empty_strided(plan.out_shape, plan.out_strides)
        lse = q.new_empty(plan.lse_shape, dtype=torch.float32)
        if plan.empty:
            return out, lse
        capturing = gpu.capturing()
        if capturing:
            buffers.keep(plan)
        elif debug.debugging():
            self._check_values(plan, tables, length_rows, pages, k)
        index = max(0, q.get_device())
        stream = gpu.stream(index)
        held: List[torch.Tensor] = []  # allocated for this launch, and free again, in the stream's order, after it

        def contiguous(t: torch.Tensor) -> int:
            if not t.is_contiguous():
                t = t.contiguous()
                held.append(t)
            return t.data_ptr()

        def take(size: int) -> int:
            if size == 0:
                return 0
            t = torch.empty(size, dtype=torch.uint8, device=plan.device)
            held.append(t)
            return t.data_ptr()

        with plan.lock:
            words = plan.buffer.words
            sq, sk, sv, so, sl, sn, sp = self._slots
            s_counters, s_list, s_scratch, s_pages, s_tables = self._work_slots
            op = out.data_ptr()
            words[sq], words[sk], words[sv], words[so], words[sl] = qp, kp, vp, op, lse.data_ptr()
            words[sn] = contiguous(length_rows) if length_rows is not None else plan.length_words.data_ptr()
            words[sp] = values.data_ptr() if values is not None else plan.value_words.data_ptr()
            if pages is not None:
                words[s_pages] = contiguous(pages)
            for i, t in enumerate(tables):
                words[s_tables + i] = contiguous(t)
            if plan.counters:
                zeros = buffers.counters(plan.device, index, stream, plan.counters, capturing)
                held.append(zeros)
                words[s_counters] = zeros.data_ptr()
            if plan.list:
                words[s_list] = take(plan.list)
            if plan.scratch:
                words[s_scratch] = take(plan.scratch)
            if plan.maps:
                pointers = {"q": qp, "k": kp or qp, "v": vp or qp, "out": op}
                for slot in plan.maps:
                    slot.point(pointers[slot.tensor], plan.where)
            self._launch(plan, index, ctypes.c_void_p(stream))
        return out, lse

    def _launch(self, plan: Plan, index: int, stream: ctypes.c_void_p) -> None:
        d = driver()
        for launch in plan.launches:
            status = launch.run(d.launch_raw, stream)
            if status == INVALID_CONTEXT:
                # A thread that has not used CUDA yet has no current context.
                d.use_device(index)
                status = launch.run(d.launch_raw, stream)
            if status != 0:
                d.check(status, "cuLaunchKernel", plan.where)

    def _plan(
        self, key, q, k, v, tables, params, scale, lengths, length_rows, values, pages, variant
    ) -> Plan:
        named: Mapping[str, Any] = dict(zip(self.artifact.param_names, params))
        plan = Plan(
            self.artifact, self._modules, self.layout, q, k, v, tables, named, scale, lengths, length_rows, values, pages, variant
        )
        if values is not None and not plan.empty:
            needed = self.value_count(plan.sizes.batch, plan.sizes.q_heads)
            if values.dtype != torch.int32 or values.numel() != max(1, needed) or not values.is_contiguous():
                raise HeddleError("state-sizes", what="words of params", expected=values.numel(), got=needed)
        while len(self._plans) >= KEPT_PLANS:
            self._plans.pop(next(iter(self._plans)), None)
        self._plans[key] = plan
        return plan

    def value_count(self, batch: int, q_heads: int) -> int:
        per_head = [p["perHead"] for p in self.artifact.params]
        return per_head.count(False) + per_head.count(True) * q_heads + len(self.artifact.derived) * batch * q_heads

    def _check_values(
        self, plan: Plan, tables: Sequence[Any], length_rows: Optional[Any], pages: Optional[Any], k: torch.Tensor
    ) -> None:
        s = plan.sizes
        for info, t in zip(self.artifact.tables, tables):
            debug.check_table_values(info, t)
        if length_rows is not None:
            debug.check_lengths(length_rows, s.batch, s.q_rows, s.kv_rows)
        if pages is not None:
            rows = length_rows if length_rows is not None else plan.length_words
            debug.check_pages(pages, rows, k.shape[2], k.shape[0])
