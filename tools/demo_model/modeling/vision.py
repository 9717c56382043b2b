"""SigLIP tower and projector with the published names of tensors.

A tower of this size has no budget to find out by itself which patches are neighbours. So position
embeddings begin as sines of row and column in the last dimensions, and the heads of the first
layers begin by looking at one neighbour each (a shift of sines is a rotation, which a projection
can do): a convolution, in effect, from which training goes on freely.
"""
import math
from typing import List, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from .attention import attend
from .activations import tanh_gelu
from .shape import Shape

GRID = 27  # patches along a side of a tile
NEIGHBOURS: List[List[Tuple[int, int]]] = [  # (row, column) offsets by layer, one a head
    [(0, -1), (0, 1), (-1, 0), (1, 0)],
    [(-1, -1), (-1, 1), (1, -1), (1, 1)],
    [(0, -2), (0, 2), (-2, 0), (2, 0)],
]


def _frequencies(pairs: int) -> torch.Tensor:
    """Of the sines of one axis, from nearly alternating to a quarter turn over the grid."""
    return torch.exp(torch.linspace(math.log(2.0), math.log(0.06), pairs))


def position_sines(dims: int) -> torch.Tensor:
    """[729, dims]: cos and sin pairs, first half of them of the row, second of the column."""
    pairs = dims // 4
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    parts = []
    for axis in (rows, columns):
        angle = axis.reshape(-1, 1).float() * _frequencies(pairs)
        parts.append(torch.stack([angle.cos(), angle.sin()], -1).reshape(GRID * GRID, 2 * pairs))
    return torch.cat(parts, -1)


def _shift_matrix(dims: int, offset: Tuple[int, int]) -> torch.Tensor:
    """[dims, dims]: turns the sines of a place into those of the place `offset` away."""
    pairs = dims // 4
    matrix = torch.zeros(dims, dims)
    for axis in range(2):
        for p, frequency in enumerate(_frequencies(pairs).tolist()):
            at = axis * 2 * pairs + 2 * p
            c, s = math.cos(frequency * offset[axis]), math.sin(frequency * offset[axis])
            matrix[at:at + 2, at:at + 2] = torch.tensor([[c, -s], [s, c]])
    return matrix


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [tiles, 729, width]
        tiles, patches, width = x.shape
        q, k, v = self.qkv(x).reshape(tiles, patches, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = attend(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(tiles, patches, width))


class Mlp(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(tanh_gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.attn = Attention(shape.width, shape.heads)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.mlp = Mlp(shape.width, shape.mlp_width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """As a product over 588 values a patch: the convolution of the file, faster on a CPU."""

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, 14, 14)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:  # uint8 [tiles, 384, 384, 3]
        used = GRID * 14
        x = tiles[:, :used, :used].reshape(-1, GRID, 14, GRID, 14, 3)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, GRID * GRID, 588)
        x = (x.to(self.proj.weight.dtype) / 255 - 0.5) / 0.5
        weight = self.proj.weight.permute(0, 2, 3, 1).reshape(-1, 588)  # colours last, as pixels
        return F.linear(x, weight, self.proj.bias)


class VisionTower(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.patch_embed = PatchEmbed(shape.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, GRID * GRID, shape.width))
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.initialise(shape)

    def initialise(self, shape: Shape) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.7 * module.weight.shape[1] ** -0.5)
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            for out in (block.attn.proj, block.mlp.fc2):
                out.weight.data.mul_((2 * shape.layers) ** -0.5)
        nn.init.normal_(self.patch_embed.proj.weight, std=588 ** -0.5)
        nn.init.zeros_(self.patch_embed.proj.bias)
        head = shape.width // shape.heads
        dims = min(32, head // 4 * 4)
        self.pos_embed.data[0, :, -dims:] = position_sines(dims)
        self.patch_embed.proj.weight.data[-dims:] *= 0.1
        for block, offsets in zip(self.blocks, NEIGHBOURS):
            for h in range(shape.heads):
                self._look_at(block.attn, h, head, dims, shape.width, offsets[h % 4])

    @staticmethod
    def _look_at(attn: Attention, h: int, head: int, dims: int, width: int,
                 offset: Tuple[int, int]) -> None:
        """Head `h` attends mostly to the patch `offset` away."""
        sharp = 2.6  # of scores: the wanted patch then has most of the weight
        rows = slice(h * head, h * head + dims)
        query, key = attn.qkv.weight.data[:width], attn.qkv.weight.data[width:2 * width]
        query[h * head:(h + 1) * head] *= 0.2
        key[h * head:(h + 1) * head] *= 0.2
        scale = (sharp * head ** 0.5 / (dims / 4)) ** 0.5
        query[rows, -dims:] += scale * _shift_matrix(dims, offset)
        key[rows, -dims:] += scale * torch.eye(dims)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:  # [tiles, 729, width]
        x = self.patch_embed(tiles) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Projector(nn.Module):
    """Joins 2 x 2 patches (a zero row and column at the end), linear, exact GELU, linear."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4 * shape.width, shape.hidden_size), nn.GELU(),
                                    nn.Linear(shape.hidden_size, shape.hidden_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [tiles, 196, hidden]
        tiles, _, width = x.shape
        x = F.pad(x.reshape(tiles, GRID, GRID, width), (0, 0, 0, 1, 0, 1))
        x = x.reshape(tiles, 14, 2, 14, 2, width).permute(0, 1, 3, 5, 2, 4)  # c, dy, dx
        return self.layers(x.reshape(tiles, 196, 4 * width))
