"""One kind of call of a program (shapes, strides, dtypes, params) in; its launches, checked and ready but for pointers, out."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence

import torch

from . import buffers
from .artifact import Artifact
from .call import Layout, unaligned
from .errors import HeddleError
from .gpu import gpu
from .modules import Modules
from .plan import DTYPES, Outline, check_tensors
from .powers import Powers
from .program import FasterLaunch, Header, plan_program
from .program_call import program_call
from .program_checks import check_aligned, check_rows, choose_program
from .program_launch import Armed, On
from .stage_schema import kernels_of, text_of
from .stored import HEADER_WORDS
from .values import default_lengths, lengths_over, resolve_params, value_words

# Elements of sixteen bytes: what tensor maps and vector loads want of a row.
VECTOR = 8


class ProgramPlan(Outline):
    def __init__(
        self,
        artifact: Artifact,
        modules: Modules,
        layout: Layout,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        tables: Sequence[torch.Tensor],
        rows: Sequence[torch.Tensor],
        params: Mapping[str, Any],
        scale: Optional[float],
        parts: Optional[torch.Tensor],
        variant: Optional[str],
    ) -> None:
        sizes = check_tensors(q, k, v, None)
        index_heads = check_rows(artifact, rows, sizes, q.device)
        super().__init__(artifact, sizes, q, k, v, tables, parts, scale, index_heads)
        shapes, strides, placed = self.shapes, self.strides, self.placed
        resolved = resolve_params(artifact, params, sizes.q_heads)
        capability, multiprocessors, shared = gpu.properties(self.index)
        chosen = choose_program(artifact, DTYPES[q.dtype], sizes, capability, variant)
        check_aligned(placed, chosen["align"])
        if self.empty:
            return
        self.where = f"{artifact.pattern}, program {chosen['id']}, {sizes.text()}"
        aligned = unaligned(placed) is None
        wide = all(shape[3] % VECTOR == 0 for shape in shapes.values())
        rows_too = all(t.data_ptr() % (2 * VECTOR) == 0 for t in rows)
        powers = Powers(capability, shared, aligned and wide and rows_too)
        lengths = default_lengths(sizes.batch, sizes.q_rows, sizes.kv_rows)
        values = value_words(artifact, resolved, sizes.batch, sizes.q_heads, sizes.kv_heads, sizes.head_dim, lengths)
        meta = [*lengths, *values[sum(not p["perHead"] for p in artifact.params) :]]
        call = program_call(
            sizes,
            index_heads,
            self.scale,
            resolved,
            shapes,
            {name: s[:3] for name, s in strides.items()},
            meta=len(meta),
            tables={info["name"]: t.numel() for info, t in zip(artifact.tables, tables)},
            rows={info["name"]: t.shape for info, t in zip(artifact.rows, rows)},
        )
        chosen = powers.dressed(chosen, call.size())
        texts: List[Mapping[str, Any]] = []
        for kernel in kernels_of(chosen):
            texts += [f["variant"] for f in kernel["faster"]] if powers.takes_faster(kernel) else [text_of(kernel)]
        modules.load(texts, self.index, capability)
        made = plan_program(chosen, call, powers.takes_faster)
        words = [("meta", meta), ("values", values)]
        rows_met = {None, *(work.key_rows for work in made.launches if isinstance(work, FasterLaunch))}
        lengths_of = {rows: lengths if rows is None else lengths_over(lengths, rows) for rows in rows_met}
        heads = {work.name: [work.units] + [0] * (HEADER_WORDS - 1) for work in made.launches if isinstance(work, Header)}
        try:
            held = {name: buffers.words(self.index, content) for name, content in words}
            by_rows = {rows: buffers.words(self.index, content) for rows, content in lengths_of.items()}
            headers = {name: buffers.words(self.index, content) for name, content in heads.items()}
        except buffers.Missing:
            raise HeddleError("capture", pattern=artifact.pattern, what="params would be copied from the host") from None
        # Kernels read them for as long as the plan is there.
        self.words = [*held.values(), *by_rows.values(), *headers.values()]
        self.launches = Armed(
            On(
                artifact, modules, layout, call, DTYPES[q.dtype], shapes, aligned, self.index, capability, multiprocessors,
                lengths=by_rows, headers=headers, **held,
            ),
            made,
        )  # fmt: skip
        self.work = ((self.launches.bytes,), (1,), torch.uint8)
