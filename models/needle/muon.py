"""Muon (Jordan, 2024) for the matrices inside a model: a gradient's momentum, made near orthogonal, is the step. Looking
up comes in a third of the steps that it takes with AdamW."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

# Of the quintic that takes singular values from (0, 1] to about 1 in five steps.
QUINTIC = (3.4445, -4.7750, 2.0315)
STEPS = 5
MOMENTUM = 0.95
# Makes a step as long as AdamW's of the same learning rate: 0.2 a weight (Moonlight, arXiv:2502.16982).
LENGTH = 0.2


def orthogonal(x: Tensor) -> Tensor:
    """[count, rows, columns], rows <= columns: the same singular vectors with values near 1."""
    a, b, c = QUINTIC
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Matrices of one shape, turned so that they lie flat, go through the products together."""

    def __init__(self, weights: Iterable[Tensor], lr: float, weight_decay: float = 0.1) -> None:
        super().__init__(list(weights), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            rate, alike = group["lr"], defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[tuple(sorted(weight.shape))].append(weight)
            for (rows, columns), weights in alike.items():
                for weight in weights:
                    if "momentum" not in self.state[weight]:
                        self.state[weight]["momentum"] = torch.zeros_like(weight)
                grads = [weight.grad for weight in weights]
                moments = [self.state[weight]["momentum"] for weight in weights]
                torch._foreach_lerp_(moments, grads, 1 - MOMENTUM)
                ahead = torch._foreach_lerp(grads, moments, MOMENTUM)
                flat = torch.stack([x if x.shape[0] == rows else x.mT for x in ahead])
                wide = flat.bfloat16() if flat.is_cuda else flat
                steps = [
                    step if weight.shape[0] == rows else step.mT
                    for step, weight in zip(orthogonal(wide).to(flat.dtype), weights)
                ]
                torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
                torch._foreach_add_(weights, steps, alpha=-rate * LENGTH * max(rows, columns) ** 0.5)
