"""The one file that knows Hugging Face transformers: patterns in, attention implementations `heddle:<pattern>` out.

For transformers 5, whose models ask two registries for an implementation by its name: one for the function that attends, one
for the function that makes its mask. Without the second a model gives no mask at all, not even of a padded batch.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, Union

import torch

from .errors import HeddleError
from .layer import attend
from .minference import profile_of
from .ops import known, load
from .padding import can_wait, keep_rows, lengths_of
from .profile import Layer, layer_of, merged

PREFIX = "heddle"
Profile = Mapping[str, Any]
# Tells one registration of a name from another.
_serials = count(1)


def register(
    source: Union[None, str, Path, Iterable[Union[str, Path]]] = None, *, profiles: Optional[Mapping[str, Profile]] = None
) -> List[str]:
    """Makes patterns known to transformers, and returns the names for `attn_implementation=`.

    source: manifests, or folders of them, to load first. Every loaded pattern is then `heddle:<pattern>`, and `heddle`
        alone takes all from the model's `config.sparse_attention`.
    profiles: further names and what they stand for, as config.sparse_attention says it; these may hold tensors. What a
        model's config says is laid over them.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    mask_function = _mask_function(causal_mask_function, sdpa_mask)
    for path in _manifests(source):
        load(path)
    named: Dict[str, Profile] = {PREFIX: {}, **{f"{PREFIX}:{name}": {"pattern": name} for name in known()}}
    for name, profile in (profiles or {}).items():
        named[name if name.split(":")[0] == PREFIX else f"{PREFIX}:{name}"] = profile_of(profile)
    found = {name: _attention_function(name, profile) for name, profile in named.items()}
    for name, function in found.items():
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, mask_function)
    return sorted(found)


def configure(model: Any, profile: Union[Profile, List[Any], str, Path]) -> None:
    """Sets config.sparse_attention of a model, checked for each of its layers; seen by compiled models too.

    profile: a record of these fields; or what MInference's search wrote for the model, as its file or parsed.
    """
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    heads = config.num_attention_heads
    profile = profile_of(profile, config.num_hidden_layers, heads)
    for layer in range(config.num_hidden_layers):
        layer_of(profile, layer, config.num_hidden_layers, heads, getattr(config, "num_key_value_heads", None) or heads)
    config.sparse_attention = _copied(profile)
    for module in model.modules():
        if hasattr(module, "_heddle_layer"):
            del module._heddle_layer


def _manifests(source: Any) -> List[Path]:
    if source is None:
        return []
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(p) for p in source]
    return [file for p in paths for file in (sorted(p.glob("*.cuda.json")) if p.is_dir() else [p])]


def _mask_function(plain: Any, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    def heddle_mask(
        batch_size: int,
        q_length: int,
        kv_length: int,
        q_offset: Any = 0,
        kv_offset: Any = 0,
        mask_function: Any = plain,
        attention_mask: Optional[torch.Tensor] = None,
        device: Any = "cpu",
        **rest: Any,
    ) -> Optional[torch.Tensor]:
        """None: plain causal over all keys. Lengths: causal, padded. What transformers' own function makes: anything else."""
        lengths, unbroken, all_real = None, None, attention_mask is None
        if mask_function is plain and rest.get("local_size") is None and isinstance(kv_offset, int) and kv_offset == 0:
            lengths, unbroken = lengths_of(attention_mask, batch_size, q_length, q_offset, device)
            if unbroken is not None and can_wait():
                # One wait for the device a step, where transformers' own function has one too.
                seen = lengths[..., 4].view(-1)
                whole = torch.stack([unbroken.all(), (seen == q_offset + q_length).all()])
                good, all_real, *rows = torch.cat([whole.to(lengths.dtype), lengths.view(-1)]).tolist()
                if good:
                    keep_rows(lengths, rows)
                else:
                    lengths = None
            elif unbroken is None and isinstance(q_offset, int):
                keep_rows(lengths, [0, q_offset, q_length, 0, q_offset + q_length] * batch_size)
        if lengths is None:
            # A mask left out would mean plain causal here.
            return otherwise(
                batch_size=batch_size,
                q_length=q_length,
                kv_length=kv_length,
                q_offset=q_offset,
                kv_offset=kv_offset,
                mask_function=mask_function,
                attention_mask=attention_mask,
                device=device,
                **{**rest, "allow_is_causal_skip": False},
            )
        plain_call = all_real and isinstance(q_offset, int) and kv_length == q_offset + q_length
        return None if plain_call else lengths

    return heddle_mask


def _attention_function(name: str, base: Profile) -> Callable[..., Tuple[torch.Tensor, None]]:
    serial = next(_serials)

    def heddle_attention(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Optional[torch.Tensor],
        scaling: Optional[float] = None,
        dropout: float = 0.0,
        sliding_window: Optional[int] = None,
        is_causal: Optional[bool] = None,
        s_aux: Optional[torch.Tensor] = None,
        softcap: Optional[float] = None,
        **_: Any,
    ) -> Tuple[torch.Tensor, None]:
        if softcap is not None:
            raise HeddleError("softcap", name=name)
        causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
        out = attend(
            name,
            _layer(module, base, serial, query.shape[1], key.shape[1]),
            query,
            key,
            value,
            attention_mask,
            scale=scaling,
            dropout=dropout,
            causal=causal,
            sliding=sliding_window,
            sinks=s_aux,
        )
        return out, None

    return heddle_attention


def _layer(module: torch.nn.Module, base: Profile, serial: int, q_heads: int, kv_heads: int) -> Layer:
    """Read once a module and kept on it, until its config says something else or it runs another implementation."""
    config = getattr(module, "config", None)
    given: Optional[Profile] = getattr(config, "sparse_attention", None)
    held = getattr(module, "_heddle_layer", None)
    # A compiler's trace takes what is held: it sees a new profile once configure() has dropped that.
    if held is None or held[0] != serial or (not torch.compiler.is_compiling() and held[1] != given):
        profile = base if given is None else merged(base, given)
        layers = getattr(config, "num_hidden_layers", None)
        index = getattr(module, "layer_idx", None) or 0
        part = part_of(config, q_heads)
        own = layer_of(profile, index, layers or index + 1, q_heads * part[1], kv_heads * part[1], part)
        held = (serial, _copied(given), own)
        module._heddle_layer = held
    return held[2]


def part_of(config: Any, q_heads: int) -> Tuple[int, int]:
    """Which of how many parts of a layer's heads this process has. Of tensor parallelism the ranks that share a layer are
    neighbours, and have its heads in the order of their ranks."""
    heads = getattr(config, "num_attention_heads", None) or q_heads
    parts = heads // q_heads
    if parts <= 1 or heads % q_heads != 0 or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank() % parts, parts


def _copied(x: Any) -> Any:
    """As it is now, so that a later change in place is seen."""
    if isinstance(x, dict):
        return {k: _copied(v) for k, v in x.items()}
    return [_copied(v) for v in x] if isinstance(x, (list, tuple)) else x
