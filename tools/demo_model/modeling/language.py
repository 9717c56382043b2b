"""The decoder of the published Base model: latent attention, sigmoid router with noaux_tc.

Experts are computed for every token and weighted, unchosen ones by zero: at this size that is one
product, cheaper than sorting tokens. Their weights are stacked; export cuts them apart.
"""
from typing import List, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from .activations import silu
from .attention import attend
from .shape import Shape


class RmsNorm(nn.Module):
    """Statistics in float32."""

    def __init__(self, size: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Pairs (2i, 2i+1) are turned; the order afterwards is all first members, then all second."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.cat([even * cos - odd * sin, odd * cos + even * sin], -1)


class LatentAttention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        s = self.shape = shape
        heads = s.num_attention_heads
        self.q_proj = nn.Linear(s.hidden_size, heads * (s.qk_nope_head_dim + s.qk_rope_head_dim),
                                bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(s.hidden_size, s.kv_lora_rank + s.qk_rope_head_dim,
                                            bias=False)
        self.kv_a_layernorm = RmsNorm(s.kv_lora_rank)
        self.kv_b_proj = nn.Linear(s.kv_lora_rank, heads * (s.qk_nope_head_dim + s.v_head_dim),
                                   bias=False)
        self.o_proj = nn.Linear(heads * s.v_head_dim, s.hidden_size, bias=False)

    @torch.no_grad()
    def look_for_the_same(self) -> None:
        """Every other head begins by comparing contents (its query is its key's projection), and
        all begin by copying (the way out is the way in, turned round). Looking things up is then
        there to be refined; from random weights it takes thousands of steps to appear."""
        s = self.shape
        down = self.kv_a_proj_with_mqa.weight[:s.kv_lora_rank]
        up = self.kv_b_proj.weight.reshape(s.num_attention_heads, -1, s.kv_lora_rank)
        for h in range(s.num_attention_heads):
            key, value = up[h].split([s.qk_nope_head_dim, s.v_head_dim])
            if h % 2 == 0:
                begin = h * (s.qk_nope_head_dim + s.qk_rope_head_dim)
                self.q_proj.weight[begin:begin + s.qk_nope_head_dim] = key @ down
            out = self.o_proj.weight[:, h * s.v_head_dim:(h + 1) * s.v_head_dim]
            out.mul_(0.5).add_((value @ down).t(), alpha=0.25)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor,
                mask: torch.Tensor) -> torch.Tensor:  # [batch, length, hidden]
        s, heads = self.shape, self.shape.num_attention_heads
        batch, length, _ = x.shape
        q = self.q_proj(x).reshape(batch, length, heads, -1).transpose(1, 2)
        q_nope, q_rope = q.split([s.qk_nope_head_dim, s.qk_rope_head_dim], -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([s.kv_lora_rank, s.qk_rope_head_dim], -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).reshape(batch, length, heads, -1)
        k_nope, v = kv.transpose(1, 2).split([s.qk_nope_head_dim, s.v_head_dim], -1)
        q_rope = rotate(q_rope, cos[:, None], sin[:, None]).to(q_nope.dtype)
        k_rope = rotate(k_rope, cos, sin)[:, None].expand(-1, heads, -1, -1).to(k_nope.dtype)
        q, k = torch.cat([q_nope, q_rope], -1), torch.cat([k_nope, k_rope], -1)
        out = attend(q, k, v, mask)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    """Scores and choice in float32. The correction bias takes part in the choice alone; no
    gradient reaches it, `rebalance` moves it."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.top, self.scaling = shape.num_experts_per_tok, shape.routed_scaling_factor
        self.weight = nn.Parameter(torch.empty(shape.n_routed_experts, shape.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(shape.n_routed_experts))
        self.register_buffer("load", torch.zeros(shape.n_routed_experts), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # weights, [.., experts], 0 if not chosen
        with torch.autocast(x.device.type, enabled=False):
            # Turned round in memory: some builds of PyTorch are very slow at the other way.
            flat = x.reshape(-1, x.shape[-1]).float() @ self.weight.float().t().contiguous()
            scores = flat.sigmoid().reshape(*x.shape[:-1], -1)
            chosen = (scores + self.e_score_correction_bias).detach().topk(self.top, -1).indices
            mask = torch.zeros_like(scores).scatter_(-1, chosen, 1.0)
            if self.training:
                self.load += mask.reshape(-1, mask.shape[-1]).sum(0)
            weights = scores * mask
            return weights / (weights.sum(-1, keepdim=True) + 1e-20) * self.scaling

    @torch.no_grad()
    def rebalance(self, rate: float) -> float:
        """A step of the bias towards even load; the busiest expert's load over the mean."""
        mean = self.load.mean()
        worst = float(self.load.max() / mean) if mean > 0 else 1.0
        self.e_score_correction_bias += rate * torch.sign(mean - self.load)
        self.load.zero_()
        return worst


class MoeMlp(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        e, i, h = shape.n_routed_experts, shape.moe_intermediate_size, shape.hidden_size
        self.gate = Gate(shape)
        self.expert_gate = nn.Parameter(torch.empty(e * i, h))
        self.expert_up = nn.Parameter(torch.empty(e * i, h))
        self.expert_down = nn.Parameter(torch.empty(e, h, i))
        self.shared_experts = Mlp(h, i * shape.n_shared_experts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.gate(x)
        e, h, i = self.expert_down.shape
        inner = silu(F.linear(x, self.expert_gate)) * F.linear(x, self.expert_up)
        inner = (inner.reshape(*x.shape[:-1], e, i) * weights.unsqueeze(-1).to(inner.dtype))
        down = self.expert_down.permute(1, 0, 2).reshape(h, e * i)
        return F.linear(inner.reshape(*x.shape[:-1], e * i), down) + self.shared_experts(x)


class DecoderLayer(nn.Module):
    def __init__(self, shape: Shape, layer: int):
        super().__init__()
        self.self_attn = LatentAttention(shape)
        self.mlp: nn.Module = MoeMlp(shape) if layer >= 1 else Mlp(shape.hidden_size,
                                                                  shape.intermediate_size)
        self.input_layernorm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor,
                mask: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embeddings in, hidden states before the final norm's product with the head out."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList([DecoderLayer(shape, i)
                                     for i in range(shape.num_hidden_layers)])
        self.norm = RmsNorm(shape.hidden_size, shape.rms_norm_eps)
        dims = shape.qk_rope_head_dim
        frequencies = shape.rope_theta ** -(torch.arange(0, dims, 2).float() / dims)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor,
                tap: Optional[int] = None) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
        """`mask` is added to the scores, [batch, 1, length, length]. With `tap` also the output of
        that layer, for auxiliary losses."""
        angles = positions.unsqueeze(-1).float() * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        tapped = None
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, mask)
            if i == tap:
                tapped = x
        return self.norm(x), tapped


class Language(nn.Module):
    """Names as in the file: language.model.*, language.lm_head.weight."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.model = Decoder(shape)
        self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() >= 2:
                nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight", "expert_down")):
                weight.data.mul_((2 * shape.num_hidden_layers) ** -0.5)
        for layer in self.model.layers:
            layer.self_attn.look_for_the_same()
        # Near the size of what the projector gives, so that neither drowns the other.
        nn.init.normal_(self.model.embed_tokens.weight, std=0.5)
        self.lm_head.weight.data.mul_(0.5)

    def gates(self) -> List[Gate]:
        return [m for m in self.modules() if isinstance(m, Gate)]
