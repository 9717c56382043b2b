"""The optimizer: Muon for matrices, AdamW for everything else.

A step of Muon makes the averaged gradient of a matrix orthogonal, so that all its directions learn,
not only the few that dominate the gradient (K. Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon; the scale that lets both optimizers share one rate is that
of J. Liu et al., 2025, arXiv 2502.16982).
"""
from typing import Dict, Iterable, List

import torch
from torch import nn

MOMENTUM = 0.95
RMS = 0.2          # of an update's entries at rate 1, about what AdamW's are
ITERATIONS = 5
# Of the odd polynomial a x + b x^3 + c x^5 that, repeated, drives singular values towards 1.
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """[n, rows, columns] to matrices of the same singular vectors and singular values near 1."""
    turned = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-1, -2) if turned else matrices
    x = x / (x.flatten(-2).norm(dim=-1)[..., None, None] + 1e-12)
    for _ in range(ITERATIONS):
        square = x @ x.transpose(-1, -2)
        x = A * x + (B * square + C * square @ square) @ x
    return x.transpose(-1, -2) if turned else x


class Muon(torch.optim.Optimizer):
    """Groups have `lr`, `weight_decay` and `parts`: how many matrices lie stacked in a parameter's
    first dimension (those of a parameter with three dimensions are told apart by it)."""

    def __init__(self, groups: Iterable[Dict], lr: float):
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "parts": 1})

    @torch.no_grad()
    def step(self) -> None:  # noqa: the closure of the base class is not used here
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                grad = parameter.grad
                state["mean"].lerp_(grad, 1 - MOMENTUM)
                ahead = grad.lerp(state["mean"], MOMENTUM)
                matrices = self._matrices(ahead, group["parts"])
                scale = RMS * max(matrices.shape[-2:]) ** 0.5
                update = orthogonal(matrices).reshape(parameter.shape)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)

    @staticmethod
    def _matrices(value: torch.Tensor, parts: int) -> torch.Tensor:
        if value.dim() == 3:
            return value
        if value.dim() == 4:  # a convolution whose kernel sees each pixel once: one product
            return value.flatten(1)[None]
        return value.reshape(parts, -1, value.shape[-1])
