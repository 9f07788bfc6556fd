"""A small Llama in plain PyTorch, with the weights named and laid out as transformers' LlamaForCausalLM has them:
token ids -> hidden states -> logits. Queries, keys and values come of one product, and so do gate and up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden_size: int = 256
    intermediate_size: int = 640
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    rope_theta: float = 500000.0
    rms_norm_eps: float = 1e-5
    # Of the training. Longer texts, up to so many times as long, stretch the wavelengths (rope_type `dynamic`).
    max_position_embeddings: int = 16384
    rope_factor: float = 2.0


class Norm(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on [batch, length, heads, dim]: dim i turns with dim i + dim/2. The tables are f32, so the products are
    too: bf16 has too few bits for two of them that all but cancel."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.q_proj = linear(config.hidden_size, self.heads * self.dim)
        self.k_proj = linear(config.hidden_size, self.kv_heads * self.dim)
        self.v_proj = linear(config.hidden_size, self.kv_heads * self.dim)
        self.o_proj = linear(self.heads * self.dim, config.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        qkv = F.linear(x, weight).view(batch, length, self.heads + 2 * self.kv_heads, self.dim)
        qk, v = qkv.split([self.heads + self.kv_heads, self.kv_heads], dim=2)
        q, k = rotate(qk, cos, sin).split([self.heads, self.kv_heads], dim=2)
        # Query heads h and h + 1 share key-value head h // 2, as in transformers' repeat_kv.
        group = self.heads // self.kv_heads
        k, v = (t.unsqueeze(3).expand(-1, -1, -1, group, -1).flatten(2, 3) for t in (k, v))
        out = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, self.heads * self.dim))


class Mlp(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_proj = linear(config.hidden_size, config.intermediate_size)
        self.up_proj = linear(config.hidden_size, config.intermediate_size)
        self.down_proj = linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = F.linear(x, torch.cat([self.gate_proj.weight, self.up_proj.weight])).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = Norm(config), Attention(config)
        self.post_attention_layernorm, self.mlp = Norm(config), Mlp(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config)


class Llama(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.model = config, Body(config)
        self.turns: dict[int, tuple[Tensor, Tensor]] = {}
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # What is added to the residual stream is scaled down by the number of additions.
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / math.sqrt(2 * config.num_hidden_layers) if into_residual else 0.02
                nn.init.normal_(weight, std=std)

    def turns_of(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines by position, made once for all lengths of the training and once for each beyond."""
        config = self.config
        trained = config.max_position_embeddings
        reach = max(length, trained)
        if reach not in self.turns:
            dim = config.head_dim
            stretch = config.rope_factor * reach / trained - (config.rope_factor - 1)
            theta = config.rope_theta * stretch ** (dim / (dim - 2))
            steps = theta ** (-torch.arange(0, dim, 2, device=device).double() / dim)
            angles = torch.arange(reach, device=device).double()[:, None, None] * steps
            self.turns[reach] = angles.cos().float(), angles.sin().float()
        cos, sin = self.turns[reach]
        return cos[:length], sin[:length]

    def hidden(self, tokens: Tensor) -> Tensor:
        """[batch, length] -> [batch, length, hidden], after the last norm."""
        cos, sin = self.turns_of(tokens.shape[1], tokens.device)
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.model.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.model.embed_tokens.weight)
