"""A program's calls on tensors: the plan of each kind of call is made once, then a call points its launches and enqueues them."""

from __future__ import annotations

from typing import Any, Mapping, Sequence, Tuple

import torch

from . import buffers, debug
from .artifact import Artifact
from .driver import Launch, driver
from .errors import HeddleError
from .gpu import gpu
from .program_launch import Copy
from .program_lengths import by_entry
from .program_plan import ProgramPlan
from .runner import PlannedRunner, about

# torch 2.4 has it under torch.cuda alone.
_OutOfMemory = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)


class ProgramRunner(PlannedRunner):
    """All calls of one artefact, with the arguments of launch.Runner: there the tables come first, here rows follow them."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact)
        self._tables = len(artifact.tables)
        self._given = self._tables + len(artifact.rows)
        self._params = self._given + len(artifact.params)

    def _run(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rest: Sequence[Any]) -> Tuple[torch.Tensor, torch.Tensor]:
        """`rest`: tables, rows, params, then the values of launch.TAIL."""
        given = rest[: self._given]
        params = tuple([tuple(p) if isinstance(p, list) else p for p in rest[self._given : self._params]])
        scale, lengths, length_rows, values, pages, parts, variant = rest[self._params :]
        for what, asked in (("lengths", length_rows), ("state", values), ("pages", pages)):
            if asked is not None:
                raise HeddleError(f"program-{what}", pattern=self.artifact.pattern)
        if lengths is not None:
            more = (*params, scale, None, None, None, None, parts, variant)
            return by_entry(self.artifact, lambda q, k, v, own: self._run(q, k, v, (*own, *more)), q, k, v, given, lengths)
        qp, kp, vp = q.data_ptr(), k.data_ptr(), v.data_ptr()
        debugging = debug.debugging()
        key = (
            *(about(t) for t in (q, k, v)), q.stride(), k.stride(), v.stride(), (qp | kp | vp) & 15,
            params, scale, variant, debugging, about(parts), tuple([(*about(t), t.data_ptr() & 15) for t in given]),
        )  # fmt: skip
        plan = self._plans.get(key)
        if plan is None:
            named: Mapping[str, Any] = dict(zip(self.artifact.param_names, params))
            tables, rows = given[: self._tables], given[self._tables :]
            plan = ProgramPlan(self.artifact, self._modules, self.layout, q, k, v, tables, rows, named, scale, parts, variant)
            self._keep(key, plan)
        new = plan.new
        out, lse = new(*plan.out), new(*plan.lse)
        if plan.empty:
            return out, lse
        capturing = gpu.capturing()
        if capturing:
            buffers.keep(plan)
        elif debugging:
            for info, t in zip(self.artifact.tables, given):
                debug.check_table_values(info, t)
        stream = gpu.stream(plan.index)
        # From the end of this call on their memory is free again, in the stream's order.
        held = [t.contiguous() for t in given]
        work, zeros = self._workspace(plan), None
        if plan.launches.counters:
            zeros, counters = self._counters(plan, plan.launches.counters, stream, capturing)
        # A tensor without rows has no address; what is said to hold one element must be readable.
        op = out.data_ptr()
        pointers = [qp, kp or qp, vp or qp, op, lse.data_ptr(), *[t.data_ptr() or qp for t in held]]
        launches = plan.launches
        with plan.lock:
            base = work.data_ptr()
            launches.given.point(pointers)
            if launches.stored.base(base):
                for copy in launches.copies:
                    copy.into(base)
            if zeros is not None:
                launches.counted.base(counters)
            for slot in launches.maps:
                if slot.pointer != pointers[slot.tensor]:
                    slot.point(pointers[slot.tensor], plan.where)
            for slot, at in launches.own_maps:
                if slot.pointer != base + at:
                    slot.point(base + at, plan.where)
            plan.stream.value = stream
            self._enqueue(plan)
        return out, lse

    def _workspace(self, plan: ProgramPlan) -> torch.Tensor:
        """Of the caching allocator, so that the next call on this stream may have the same memory; no launch was made yet."""
        try:
            return plan.new(*plan.work)
        except _OutOfMemory as e:
            parts = plan.launches.parts
            name = max(parts, key=lambda n: parts[n])
            sizes = {"bytes": plan.launches.bytes, "name": name, "own": parts[name]}
            raise HeddleError("workspace", where=plan.where, detail=str(e).partition("\n")[0], **sizes) from e

    def _enqueue(self, plan: ProgramPlan) -> None:
        d = driver()
        calls = {Launch: d.launch_raw, Copy: d.lib.cuMemcpyDtoDAsync_v2}
        for step in plan.launches.steps:
            call = calls[type(step)]
            status = step.run(call, plan.stream)
            if status != 0:
                what = "cuLaunchKernel" if type(step) is Launch else "cuMemcpyDtoDAsync"
                self._retry(plan, lambda: step.run(call, plan.stream), status, what)
