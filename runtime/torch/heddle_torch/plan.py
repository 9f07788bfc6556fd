"""One kind of call (shapes, strides, dtypes, params) in; everything about it that needs no pointers, checked and ready, out."""

from __future__ import annotations

import ctypes
import threading
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import torch

from . import buffers
from .artifact import Artifact
from .call import CallBuffer, Layout, Sizes, check_sizes, choose_variant, fill_call, scalars_of, shape_of, unaligned, variables_of
from .driver import Launch, MapSlot
from .errors import HeddleError
from .gpu import gpu
from .memory import Memory
from .modules import Modules
from .rules import size
from .values import default_lengths, reads_lengths, resolve_lengths, resolve_params, value_words

DTYPES = {torch.bfloat16: "bf16", torch.float16: "f16"}
TABLE_TYPES = {"i32": torch.int32, "f32": torch.float32}
WORK_ALIGN = 256


def check_axes(name: str, t: torch.Tensor) -> None:
    if t.dim() != 4:
        axes = ["batch", "heads", "rows", "dim"]
        raise HeddleError("shape", tensor=name, axes=axes, expected=["4 sizes"], got=list(t.shape))


def check_tensors(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pages: Optional[torch.Tensor]) -> Sizes:
    """Devices, dtypes and shapes agree; the sizes of the call."""
    for name, t in (("q", q), ("k", k), ("v", v)):
        if t.device.type != gpu.kind:
            raise HeddleError("device", tensor=name, got=t.device)
        if t.device != q.device:
            raise HeddleError("device", tensor=name, got=t.device, expected=f"{q.device}, where q is")
        if t.dtype not in DTYPES:
            raise HeddleError("dtype", tensor=name, expected="bfloat16 or float16", got=t.dtype)
        if t.dtype != q.dtype:
            raise HeddleError("dtype", tensor=name, expected=f"{q.dtype}, as q", got=t.dtype)
        check_axes(name, t)
        if t.shape[3] > 1 and t.stride(3) != 1:
            raise HeddleError("last-stride", tensor=name, got=t.stride(3))
    batch, q_heads, q_rows, head_dim = q.shape
    first, kv_heads, kv_rows, _ = k.shape
    if pages is None:
        axes, count = ["batch", "heads", "rows", "dim"], batch
    else:
        axes, count = ["pages", "heads", "tokens", "dim"], first
        check_table("pages", pages, torch.int32, ["batch", "pages of a row"], [batch, pages.shape[-1] if pages.dim() else 0], q.device)
    for name, t, dim in (("k", k, head_dim), ("v", v, v.shape[3])):
        expected = [count, kv_heads, kv_rows, dim]
        if list(t.shape) != expected:
            raise HeddleError("shape", tensor=name, axes=axes, expected=expected, got=list(t.shape))
    if pages is not None:
        kv_rows *= pages.shape[1]
    sizes = Sizes(batch, q_heads, kv_heads, q_rows, kv_rows, head_dim, v.shape[3])
    check_sizes(sizes)
    return sizes


def check_table(
    name: str, t: Any, dtype: torch.dtype, axes: Sequence[Any], expected: Sequence[int], device: torch.device
) -> None:
    if not isinstance(t, torch.Tensor):
        raise HeddleError("tensor", tensor=name, got=type(t).__name__)
    if t.device != device:
        raise HeddleError("device", tensor=name, got=t.device, expected=f"{device}, where q is")
    if t.dtype != dtype:
        raise HeddleError("dtype", tensor=name, expected=dtype, got=t.dtype)
    if list(t.shape) != list(expected):
        raise HeddleError("shape", tensor=name, axes=axes, expected=expected, got=list(t.shape))


def check_parts(artifact: Artifact, parts: Optional[torch.Tensor], device: torch.device) -> None:
    """Of an artefact over lists one tensor of words, else none."""
    expected = len(artifact.record["lists"] or ())
    if expected != (parts is not None):
        raise HeddleError("lists", pattern=artifact.pattern, expected=expected, got=int(parts is not None))
    if parts is not None:
        check_table("lists", parts, torch.int32, ["words"], [parts.numel()], device)


def table_shape(info: Mapping[str, Any], sizes: Sizes, index_heads: Optional[int] = None) -> List[int]:
    """`index_heads`: of a program; other artefacts have no such axis."""
    axes = {
        "batch": sizes.batch,
        "head": sizes.q_heads,
        "kvHead": sizes.kv_heads,
        "qLen": sizes.q_rows,
        "kvLen": sizes.kv_rows,
        "headDim": sizes.head_dim,
        **({} if index_heads is None else {"indexHead": index_heads}),
    }
    shape = []
    for dim in info["dims"]:
        if isinstance(dim, str) and dim not in axes:
            raise HeddleError("table-axis", name=info["name"], axis=dim)
        shape.append(axes[dim] if isinstance(dim, str) else int(dim))
    return shape


def out_strides(shape: Sequence[int], rows_outside: bool) -> Tuple[int, int, int, int]:
    """Contiguous, or [batch, rows, heads, dim] in memory where q lies so."""
    _, heads, rows, dim = shape
    if rows_outside:
        return (rows * heads * dim, dim, heads * dim, 1)
    return (heads * rows * dim, rows * dim, dim, 1)


class Outline:
    """What plans of kernels and of programs begin with: a call's tensors and tables that fit, its results and its scale."""

    def __init__(
        self,
        artifact: Artifact,
        sizes: Sizes,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        tables: Sequence[torch.Tensor],
        parts: Optional[torch.Tensor],
        scale: Optional[float],
        index_heads: Optional[int] = None,
    ) -> None:
        self.sizes = sizes
        self.lock = threading.Lock()
        self.device = q.device
        self.index = max(0, q.get_device())
        self.stream = ctypes.c_void_p()
        for info, t in zip(artifact.tables, tables):
            shape = table_shape(info, sizes, index_heads)
            check_table(info["name"], t, TABLE_TYPES[info["type"]], info["dims"], shape, q.device)
        check_parts(artifact, parts, q.device)
        out_shape = (sizes.batch, sizes.q_heads, sizes.q_rows, sizes.value_dim)
        self.shapes = {"q": q.shape, "k": k.shape, "v": v.shape, "out": out_shape}
        own_strides = out_strides(out_shape, q.stride(2) > q.stride(1))
        self.strides = {"q": q.stride(), "k": k.stride(), "v": v.stride(), "out": own_strides}
        pointers = {"q": q.data_ptr(), "k": k.data_ptr(), "v": v.data_ptr(), "out": 0}
        self.placed = {name: (pointers[name], self.shapes[name], self.strides[name]) for name in pointers}
        # What the results are made by, and of.
        self.new = gpu.empty_strided()
        self.out = (out_shape, own_strides, q.dtype)
        heads, rows = max(1, sizes.q_heads), max(1, sizes.q_rows)
        self.lse = (out_shape[:3], (heads * rows, rows, 1), torch.float32)
        self.empty = 0 in out_shape
        if scale is None:
            scale = sizes.head_dim**-0.5 if sizes.head_dim else 1.0
        if not abs(scale) < float("inf"):
            raise HeddleError("scale", got=scale)
        self.scale = scale


class Plan(Outline):
    def __init__(
        self,
        artifact: Artifact,
        modules: Modules,
        layout: Layout,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        tables: Sequence[torch.Tensor],
        params: Mapping[str, Any],
        scale: Optional[float],
        lengths: Optional[Sequence[int]],
        length_rows: Optional[torch.Tensor],
        values: Optional[torch.Tensor],
        pages: Optional[torch.Tensor],
        parts: Optional[torch.Tensor],
        variant: Optional[str],
    ) -> None:
        sizes = check_tensors(q, k, v, pages)
        super().__init__(artifact, sizes, q, k, v, tables, parts, scale)
        index, shapes, strides = self.index, self.shapes, self.strides
        self._fill_values(artifact, params, lengths, length_rows, values)
        if self.empty:
            return
        misaligned = unaligned(self.placed)
        dtype = DTYPES[q.dtype]
        capability, multiprocessors, shared = gpu.properties(index)
        param = scalars_of(artifact, None if values is not None else params)
        chosen = choose_variant(artifact, dtype, sizes, capability, pages is not None, misaligned, variant, shared, param)
        self.where = f"{artifact.pattern}, variant {chosen['id']}, {sizes.text()}"
        functions = modules.functions(chosen, index, capability)
        shape = shape_of(chosen, sizes, multiprocessors)
        self.counters = shape.counters
        # The list and, behind it, the scratch: one allocation.
        self.scratch_at = -(-shape.list // WORK_ALIGN) * WORK_ALIGN
        self.work = ((self.scratch_at + shape.scratch,), (1,), torch.uint8) if shape.list + shape.scratch else None
        self.buffer = CallBuffer(layout)
        self.words = self.buffer.words
        paging = (0, 0, 0) if pages is None else (k.shape[2], pages.shape[1], k.shape[0])
        three = {name: s[:3] for name, s in strides.items()}
        fill_call(layout, self.buffer, sizes, shape, three, self.scale, misaligned is None, paging)
        self.launches: List[Launch] = []
        self.maps: List[MapSlot] = []
        for function, entry, grid in zip(functions, chosen["entries"], shape.grids):
            if 0 in grid:
                continue
            rules = entry["tensorMaps"]
            launch = Launch(function, grid, entry["threads"], entry["sharedBytes"], self.buffer.address, len(rules))
            self.launches.append(launch)
            for i, rule in enumerate(rules):
                name = rule["tensor"]
                step = None if rule["step"] is None else size(rule["step"], variables_of(sizes, multiprocessors), param)
                self.maps.append(MapSlot(launch, i, dtype, list(shapes[name]), list(three[name]), rule, step))
        for name, own in (("lengths", self.length_words), ("values", self.value_words)):
            if own is not None:
                self.buffer.words[layout.slots[name]] = own.pointer
        # Whether a call has more to fill in than q, k, v and its results.
        given = [t for t in (length_rows, values, pages, parts, *tables) if t is not None]
        self.more = bool(given or self.counters or self.work)

    def _fill_values(
        self,
        artifact: Artifact,
        params: Mapping[str, Any],
        lengths: Optional[Sequence[int]],
        length_rows: Optional[torch.Tensor],
        values: Optional[torch.Tensor],
    ) -> None:
        """Device words of lengths and params, unless the call brings its own tensors of them."""
        s = self.sizes
        self.length_words: Optional[Memory] = None
        self.value_words: Optional[Memory] = None
        self.rows: Sequence[int] = ()
        if length_rows is not None:
            check_table("lengths", length_rows, torch.int32, ["batch", "5"], [s.batch, 5], self.device)
            derived = reads_lengths(artifact)
            if values is None and derived is not None:
                raise HeddleError("lengths-derived", pattern=artifact.pattern, uniform=derived)
        elif lengths is None:
            self.rows = default_lengths(s.batch, s.q_rows, s.kv_rows)
        else:
            given = [list(lengths[i : i + 5]) for i in range(0, len(lengths), 5)]
            self.rows = resolve_lengths(given, s.batch, s.q_rows, s.kv_rows)
        try:
            if length_rows is None:
                self.length_words = buffers.words(self.index, self.rows)
            if values is None:
                resolved = resolve_params(artifact, params, s.q_heads)
                words = value_words(artifact, resolved, s.batch, s.q_heads, s.kv_heads, s.head_dim, self.rows)
                self.value_words = buffers.words(self.index, words)
        except buffers.Missing:
            raise HeddleError("capture", pattern=artifact.pattern, what="params or lengths would be copied from the host") from None
