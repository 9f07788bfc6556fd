"""Params and lengths of calls, held on the device: a captured CUDA graph reads them anew at each replay."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import torch

from .errors import HeddleError
from .gpu import gpu
from .ops import Pattern
from .ops import pattern as find
from .values import reads_lengths, resolve_lengths, resolve_params, value_words


class State:
    """What a pattern's calls of one shape read beside their tensors. Pass it to attention(.., state=..).

    `values` and `lengths` are int32 tensors that stay where they are; update() rewrites them in place, on torch's current
    stream, so a replay that follows on that stream sees them. Lengths are records or numbers as for attention(), or an int32
    tensor [batch, 5] on the device: at construction such a tensor is taken as it is, so that kernels of your own may write it.
    """

    def __init__(
        self,
        pattern: Union[Pattern, str],
        *,
        batch: int,
        q_heads: int,
        kv_heads: int,
        q_rows: int,
        kv_rows: int,
        head_dim: int,
        device: Any = None,
        lengths: Any = None,
        params: Optional[Mapping[str, Any]] = None,
        **named: Any,
    ) -> None:
        self.pattern = pattern if isinstance(pattern, Pattern) else find(pattern)
        if self.pattern.artifact.is_program:
            raise HeddleError("program-state", pattern=self.pattern.name)
        self.batch, self.q_heads, self.kv_heads = batch, q_heads, kv_heads
        self.q_rows, self.kv_rows, self.head_dim = q_rows, kv_rows, head_dim
        self.device = torch.device(gpu.kind if device is None else device)
        # The pattern and the shapes of q, k and pages of the last call that was found to fit.
        self.fits: Optional[Tuple[Any, ...]] = None
        self._given: Dict[str, Any] = {}
        self._rows: Optional[List[int]] = None  # unknown where the lengths are a tensor on the device
        if self._on_device(lengths):
            self._check_rows(lengths)
            self.lengths: torch.Tensor = lengths
        count = self.pattern.runner.value_count(batch, q_heads)
        with torch.inference_mode(False):  # else update() could not write them outside of that mode
            if not self._on_device(lengths):
                self.lengths = torch.empty((batch, 5), dtype=torch.int32, device=self.device)
            self.values = torch.empty(max(1, count), dtype=torch.int32, device=self.device)
        rows = None if self._on_device(lengths) else resolve_lengths(lengths, batch, q_rows, kv_rows)
        self._write({**named, **(params or {})}, rows)

    @classmethod
    def like(
        cls,
        pattern: Union[Pattern, str],
        q: torch.Tensor,
        k: torch.Tensor,
        *,
        pages: Optional[torch.Tensor] = None,
        lengths: Any = None,
        params: Optional[Mapping[str, Any]] = None,
        **named: Any,
    ) -> "State":
        """For calls on tensors of these shapes."""
        return cls(
            pattern,
            batch=q.shape[0],
            q_heads=q.shape[1],
            kv_heads=k.shape[1],
            q_rows=q.shape[2],
            kv_rows=k.shape[2] * (1 if pages is None else pages.shape[1]),
            head_dim=q.shape[3],
            device=q.device,
            lengths=lengths,
            params=params,
            **named,
        )

    def update(self, *, lengths: Any = None, params: Optional[Mapping[str, Any]] = None, **named: Any) -> None:
        """Params by name, and lengths; what is not given stays. Nothing changes where a value is refused."""
        rows = self._rows
        if self._on_device(lengths):
            self._check_rows(lengths)
            if lengths.data_ptr() != self.lengths.data_ptr():
                self.lengths.copy_(lengths)
            rows = None
        elif lengths is not None:
            rows = resolve_lengths(lengths, self.batch, self.q_rows, self.kv_rows)
        changed = {**named, **(params or {})}
        if changed or lengths is None or not self._on_device(lengths):
            self._write({**self._given, **changed}, rows)
        self._rows = rows

    def check_names(self, pattern: Pattern, named: Mapping[str, Any], with_lengths: bool) -> None:
        """A call brings nothing that this state holds."""
        held = [n for n in named if n in pattern.params] + (["lengths"] if with_lengths else [])
        if held:
            raise HeddleError("state-params", names=held)

    def check_sizes(self, pattern: Pattern, q: torch.Tensor, k: torch.Tensor, pages: Optional[torch.Tensor]) -> None:
        """A call is of the pattern and the sizes that this state is for."""
        if pattern is not self.pattern:
            raise HeddleError("state-pattern", expected=self.pattern.name, got=pattern.name)
        kv_rows = k.shape[2] * (1 if pages is None else pages.shape[1])
        mine = (self.batch, self.q_heads, self.q_rows, self.head_dim, self.kv_heads, self.kv_rows)
        names = ("batch", "heads", "q rows", "head dim", "kv heads", "kv rows")
        for what, expected, got in zip(names, mine, (*q.shape, k.shape[1], kv_rows)):
            if expected != got:
                raise HeddleError("state-sizes", what=what, expected=expected, got=got)

    def _on_device(self, lengths: Any) -> bool:
        # Without a GPU (in tests) a tensor stands for one on the device.
        return isinstance(lengths, torch.Tensor) and (lengths.device.type != "cpu" or gpu.kind == "cpu")

    def _check_rows(self, lengths: torch.Tensor) -> None:
        derived = reads_lengths(self.pattern.artifact)
        if derived is not None:
            raise HeddleError("lengths-derived", pattern=self.pattern.name, uniform=derived)
        if lengths.device.type != self.device.type:
            raise HeddleError("device", tensor="lengths", got=lengths.device, expected=str(self.device))
        if lengths.dtype != torch.int32:
            raise HeddleError("dtype", tensor="lengths", expected=torch.int32, got=lengths.dtype)
        if list(lengths.shape) != [self.batch, 5] or not lengths.is_contiguous():
            axes = ["batch", "5, contiguous"]
            raise HeddleError("shape", tensor="lengths", axes=axes, expected=[self.batch, 5], got=list(lengths.shape))

    def _write(self, named: Dict[str, Any], rows: Optional[List[int]]) -> None:
        if gpu.capturing():
            raise HeddleError("state-capture")
        resolved = resolve_params(self.pattern.artifact, named, self.q_heads)
        words = value_words(
            self.pattern.artifact, resolved, self.batch, self.q_heads, self.kv_heads, self.head_dim, rows or []
        )
        self._given, self._rows = named, rows
        if words:
            self.values.copy_(torch.tensor(words, dtype=torch.int32))
        if rows is not None:
            self.lengths.copy_(torch.tensor(rows, dtype=torch.int32).reshape(self.batch, 5))
