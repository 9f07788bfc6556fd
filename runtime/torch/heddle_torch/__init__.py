"""Attention kernels built by Heddle, on CUDA tensors of PyTorch: load an artefact, call `attention`.

Names are imported when first used, so that the parts that need no torch (rules, artefacts, the compiler's cache) stand alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import HeddleError

if TYPE_CHECKING:
    from .api import attention
    from .hf import configure, register
    from .minference import read_profile
    from .ops import Pattern, load, pattern
    from .state import State

__version__ = "0.1.0"
__all__ = ["HeddleError", "Pattern", "State", "attention", "configure", "load", "pattern", "read_profile", "register"]

_HOME = {
    "attention": "api",
    "configure": "hf",
    "register": "hf",
    "read_profile": "minference",
    "load": "ops",
    "pattern": "ops",
    "Pattern": "ops",
    "State": "state",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'heddle_torch' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
