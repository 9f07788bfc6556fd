"""Tensors in; whether torch's dispatcher would only run the op's kernel on them, so that it can be run without the dispatcher."""

from __future__ import annotations

from typing import Any, Iterable

import torch
from torch.autograd import forward_ad, profiler

_C = torch._C
_functorch = torch._C._functorch
_Tensor = torch.Tensor


def unwatched() -> bool:
    """No compiler, mode, transform, trace or profiler wants to see ops, or to do something else in their place."""
    return (
        not torch.compiler.is_compiling()
        and _C._len_torch_dispatch_stack() == 0
        and _C._len_torch_function_stack() == 0
        and _functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and not profiler._is_profiler_enabled
        and not _C._is_tracing()
    )


def plain(tensors: Iterable[Any]) -> bool:
    """Of no subclass, and no view that is negated when read."""
    for t in tensors:
        if type(t) is not _Tensor or t.is_neg():
            return False
    return True
