"""A pattern's calls on tensors: the plan of each kind of call is made once, then a call patches pointers and launches."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import torch

from . import buffers, debug
from .artifact import Artifact
from .driver import driver
from .errors import HeddleError
from .gpu import gpu
from .plan import Plan
from .runner import PlannedRunner, about

# What follows the params among the arguments of an op, with their defaults; ops.py prints the schema from it.
TAIL = (
    ("float? scale", None),
    ("SymInt[]? lengths", None),
    ("Tensor? length_rows", None),
    ("Tensor? values", None),
    ("Tensor? pages", None),
    ("Tensor? parts", None),
    ("str? variant", None),
)


class Runner(PlannedRunner):
    """All calls of one artefact."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact)
        self._tables = len(artifact.tables)
        self._params = self._tables + len(artifact.params)
        self._per_head = any(p["perHead"] for p in artifact.params)
        slots = self.layout.slots
        self._slots = tuple(slots[n] for n in ("q", "k", "v", "out", "lse"))
        self._more_slots = tuple(slots[n] for n in ("lengths", "values", "pages", "parts", "tables", "counters", "list", "scratch"))

    def _run(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rest: Sequence[Any]) -> Tuple[torch.Tensor, torch.Tensor]:
        """`rest`: tables, params, then the values of TAIL."""
        tables = rest[: self._tables]
        params = rest[self._tables : self._params]
        scale, lengths, length_rows, values, pages, parts, variant = rest[self._params :]
        if self._per_head:
            params = tuple([tuple(p) if isinstance(p, list) else p for p in params])
        qp, kp, vp = q.data_ptr(), k.data_ptr(), v.data_ptr()
        debugging = debug.debugging()
        key = (
            q.shape, q.stride(), q.dtype, q.device,
            k.shape, k.stride(), k.dtype, k.device,
            v.shape, v.stride(), v.dtype, v.device,
            (qp | kp | vp) & 15, params, scale, variant, debugging,
            None if lengths is None else tuple(lengths),
            # Most calls have none of these.
            (length_rows is not None or values is not None or pages is not None or parts is not None or tables)
            and (about(length_rows), about(values), about(pages), about(parts), *[about(t) for t in tables]),
        )  # fmt: skip
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plan(key, q, k, v, tables, params, scale, lengths, length_rows, values, pages, parts, variant)
        new = plan.new
        out, lse = new(*plan.out), new(*plan.lse)
        if plan.empty:
            return out, lse
        capturing = gpu.capturing()
        if capturing:
            buffers.keep(plan)
        elif debugging:
            self._check_values(plan, tables, length_rows, pages, k)
        stream = gpu.stream(plan.index)
        op = out.data_ptr()
        with plan.lock:
            words = plan.words
            sq, sk, sv, so, sl = self._slots
            words[sq], words[sk], words[sv], words[so], words[sl] = qp, kp, vp, op, lse.data_ptr()
            held = self._fill_more(plan, tables, length_rows, values, pages, parts, stream, capturing) if plan.more else None
            if plan.maps:
                pointers = (qp, kp or qp, vp or qp, op)
                for slot in plan.maps:
                    if slot.pointer != pointers[slot.tensor]:
                        slot.point(pointers[slot.tensor], plan.where)
            plan.stream.value = stream
            self._launch(plan)
        del held  # from here on the launch's own memory is free again, in the stream's order
        return out, lse

    def _fill_more(
        self, plan: Plan, tables: Sequence[Any], length_rows: Any, values: Any, pages: Any, parts: Any, stream: int, capturing: bool
    ) -> List[Any]:
        """What not every call has. Returns what has to live until the launch."""
        words = plan.words
        s_lengths, s_values, s_pages, s_parts, s_tables, s_counters, s_list, s_scratch = self._more_slots
        held: List[Any] = []
        given = [(s_lengths, length_rows), (s_values, values), (s_pages, pages), (s_parts, parts)]
        for slot, t in given + [(s_tables + i, t) for i, t in enumerate(tables)] if tables else given:
            if t is not None:
                if not t.is_contiguous():
                    t = t.contiguous()
                    held.append(t)
                words[slot] = t.data_ptr()
        if plan.counters:
            zeros, words[s_counters] = self._counters(plan, plan.counters, stream, capturing)
            held.append(zeros)
        if plan.work:
            work = plan.new(*plan.work)
            words[s_list] = start = work.data_ptr()
            words[s_scratch] = start + plan.scratch_at
            held.append(work)
        return held

    def _launch(self, plan: Plan) -> None:
        raw = driver().launch_raw
        for launch in plan.launches:
            status = launch.run(raw, plan.stream)
            if status != 0:
                self._retry(plan, lambda: launch.run(raw, plan.stream), status, "cuLaunchKernel")

    def _plan(
        self, key, q, k, v, tables, params, scale, lengths, length_rows, values, pages, parts, variant
    ) -> Plan:
        named: Mapping[str, Any] = dict(zip(self.artifact.param_names, params))
        plan = Plan(
            self.artifact, self._modules, self.layout, q, k, v, tables, named, scale, lengths, length_rows, values, pages, parts, variant
        )
        if values is not None and not plan.empty:
            needed = self.value_count(plan.sizes.batch, plan.sizes.q_heads)
            if values.dtype != torch.int32 or values.numel() != max(1, needed) or not values.is_contiguous():
                raise HeddleError("state-sizes", what="words of params", expected=values.numel(), got=needed)
        self._keep(key, plan)
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
            rows = plan.rows if length_rows is None else length_rows.flatten().tolist()
            debug.check_pages(pages, rows, k.shape[2], k.shape[0])
