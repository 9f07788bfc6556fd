"""A stand-in for the little of transformers that the plug-in touches: two registries, the plain causal mask function, and the
mask that is made of any; and one attention layer called as models call theirs, with a growing or a static cache."""

from __future__ import annotations

import sys
import types
from typing import Any, Dict, Optional

import torch


class Registry:
    held: Dict[str, Any]

    @classmethod
    def register(cls, name: str, value: Any) -> None:
        cls.held[name] = value


def causal_mask_function(batch_idx: Any, head_idx: Any, q_idx: Any, kv_idx: Any) -> Any:
    return kv_idx <= q_idx


def sdpa_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    kv_offset: int = 0,
    mask_function: Any = causal_mask_function,
    attention_mask: Optional[torch.Tensor] = None,
    allow_is_causal_skip: bool = True,
    device: Any = "cpu",
    **_: Any,
) -> Optional[torch.Tensor]:
    if allow_is_causal_skip and attention_mask is None and q_length in (1, kv_length):
        return None
    at = (torch.arange(q_length, device=device) + q_offset)[None, None, :, None]
    key = (torch.arange(kv_length, device=device) + kv_offset)[None, None, None, :]
    kept = mask_function(torch.arange(batch_size, device=device)[:, None, None, None], 0, at, key).expand(batch_size, 1, -1, -1)
    return kept if attention_mask is None else kept & attention_mask[:, None, None, :kv_length]


class Installed:
    """Two modules of sys.modules, for a test to start and stop; others that are imported meanwhile stay."""

    def __init__(self, modules: Dict[str, Any]) -> None:
        self._modules = modules
        self._before: Dict[str, Any] = {}

    def start(self) -> None:
        self._before = {name: sys.modules.get(name) for name in self._modules}
        sys.modules.update(self._modules)

    def stop(self, *_: Any) -> None:
        for name, before in self._before.items():
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before

    __enter__, __exit__ = start, stop


def install() -> Installed:
    found = types.ModuleType("transformers")
    found.AttentionInterface = type("AttentionInterface", (Registry,), {"held": {}})
    found.AttentionMaskInterface = type("AttentionMaskInterface", (Registry,), {"held": {}})
    masks = types.ModuleType("transformers.masking_utils")
    masks.causal_mask_function, masks.sdpa_mask = causal_mask_function, sdpa_mask
    return Installed({"transformers": found, "transformers.masking_utils": masks})


class Attention(torch.nn.Module):
    """`static`: the length of a cache that is there from the start, full of noise where nothing was written yet."""

    def __init__(self, name: str, q_heads: int = 4, kv_heads: int = 2, layer: int = 0, **config: Any) -> None:
        super().__init__()
        self.name, self.layer_idx, self.is_causal = name, layer, True
        self.num_key_value_groups = q_heads // kv_heads
        sizes = {"num_hidden_layers": 4, "num_attention_heads": q_heads, "num_key_value_heads": kv_heads}
        self.config = types.SimpleNamespace(**sizes, **config)

    def mask(
        self, batch: int, rows: int, keys: int, at: Any, padding: Optional[torch.Tensor], device: Any = "cpu", **more: Any
    ) -> Any:
        """As create_causal_mask asks for it; a mask of four dimensions goes on as it is."""
        if padding is not None and padding.dim() == 4:
            return padding
        function = sys.modules["transformers"].AttentionMaskInterface.held[self.name]
        asked = {"mask_function": causal_mask_function, "allow_is_causal_skip": True, "kv_offset": 0, **more}
        padding = None if padding is None else padding.bool()
        return function(
            batch_size=batch, q_length=rows, kv_length=keys, q_offset=at, attention_mask=padding, dtype=torch.float16,
            config=self.config, use_vmap=False, device=device, **asked,
        )  # fmt: skip

    def attend(self, q: Any, k: Any, v: Any, mask: Any, **more: Any) -> Any:
        function = sys.modules["transformers"].AttentionInterface.held[self.name]
        given = {"dropout": 0.0, "scaling": q.shape[3] ** -0.5, "position_ids": None, "use_cache": True, **more}
        out, weights = function(self, q, k, v, mask, **given)
        assert weights is None and out.is_contiguous() and tuple(out.shape) == (q.shape[0], q.shape[2], q.shape[1], v.shape[3])
        return out.transpose(1, 2)

    def forward(self, q: Any, k: Any, v: Any, padding: Any = None, at: Any = None, **more: Any) -> Any:
        """Queries at `at` and on, by default the last ones."""
        at = k.shape[2] - q.shape[2] if at is None else at
        mask = self.mask(q.shape[0], q.shape[2], k.shape[2], at, padding, q.device)
        return self.attend(q, k, v, mask, **more)
