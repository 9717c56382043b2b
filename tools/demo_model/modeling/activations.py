"""The tower's GELU (tanh form), faster where the library's bf16 one is slow."""
from typing import Any

import torch
from torch.nn import functional as F

_A, _B = 1.5957691216057308, 0.07135481282845305  # 2 sqrt(2/pi), times 0.044715


class SigmoidForm(torch.autograd.Function):
    """The same function: 0.5 (1 + tanh(u)) = sigmoid(2 u). Computed in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        wide = x.float()
        return (wide * torch.sigmoid(wide * (wide * wide).mul_(_B).add_(_A))).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        wide = ctx.saved_tensors[0].float()
        square = wide * wide
        s = torch.sigmoid(wide * square.mul(_B).add_(_A))
        slope = square.mul_(3 * _B).add_(_A).mul_(wide).mul_(1 - s).add_(1).mul_(s)
        return slope.mul_(grad).to(grad.dtype)


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    if not x.is_cuda and x.dtype == torch.bfloat16:
        return SigmoidForm.apply(x)
    return F.gelu(x, approximate="tanh")
