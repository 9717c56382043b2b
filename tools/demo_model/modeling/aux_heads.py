"""Auxiliary lessons for the projector's outputs, dropped at export.

The generator knows what lies in every 28 x 28 pixels of a tile. Predicting it there teaches the
tower hundreds of facts a picture; the language model then only has to learn to look them up.
"""
from typing import Dict, List, Tuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..data.sample import Picture
from ..data.scene import COLOURS, SHAPES
from ..pixels import SIDE, TILE, fitted

CHARS = "".join(chr(c) for c in range(33, 127))
SLOTS = 3          # characters of a cell, in reading order
MAX_INDEX = 15     # place in the line, 0 for none, further ones count as the last
CELL = 28.0
# Columns of a label row: characters, places in line, shape, colour, 12 digits of the box.
WIDTH = 2 * SLOTS + 2 + 12
IGNORED = -100


def cell_labels(picture: Picture, canvas: Tuple[int, int], whole: bool) -> np.ndarray:
    """int16 [tiles, 196, WIDTH] for the view of `picture` on `canvas`. Boxes are told where the
    tile shows the `whole` picture: a part cannot know where it lies."""
    wide, high = canvas[0] // TILE, canvas[1] // TILE
    labels = np.zeros((wide * high, SIDE * SIDE, WIDTH), np.int16)
    labels[:, :, 2 * SLOTS + 2:] = IGNORED
    w, h, left, top = fitted(picture.image.size, canvas)
    sx, sy = w / picture.image.width, h / picture.image.height

    def cell(x: float, y: float) -> Tuple[int, int]:
        cx, cy = left + x * sx, top + y * sy
        tx, ty = min(wide - 1, int(cx // TILE)), min(high - 1, int(cy // TILE))
        column = min(SIDE - 1, max(0, int((cx - tx * TILE) // CELL)))
        row = min(SIDE - 1, max(0, int((cy - ty * TILE) // CELL)))
        return ty * wide + tx, row * SIDE + column

    for glyph in picture.glyphs:
        tile, place = cell(glyph.x, glyph.y)
        row = labels[tile, place]
        for slot in range(SLOTS):
            if row[slot] == 0:
                row[slot] = CHARS.find(glyph.char) + 1
                row[SLOTS + slot] = min(MAX_INDEX, glyph.index + 1)
                break
    for thing in picture.things:
        tile, place = cell(*thing.centre)
        row = labels[tile, place]
        row[2 * SLOTS] = SHAPES.index(thing.shape) + 1
        row[2 * SLOTS + 1] = list(COLOURS).index(thing.colour) + 1
        if whole:
            for i, value in enumerate(thing.box):
                side = picture.image.size[i % 2]
                number = min(999, max(0, int(value / side * 999 + 0.5)))
                row[2 * SLOTS + 2 + 3 * i:2 * SLOTS + 5 + 3 * i] = [
                    number // 100, number // 10 % 10, number % 10]
    return labels


class AuxHeads(nn.Module):
    """One linear layer to all lessons. `loss` also tells how many are right, by lesson."""

    def __init__(self, hidden: int):
        super().__init__()
        self.sizes: List[int] = ([len(CHARS) + 1] * SLOTS + [MAX_INDEX + 1] * SLOTS +
                                 [len(SHAPES) + 1, len(COLOURS) + 1] + [10] * 12)
        self.out = nn.Linear(hidden, sum(self.sizes))

    def loss(self, cells: torch.Tensor, labels: torch.Tensor) -> Tuple[torch.Tensor,
                                                                       Dict[str, float]]:
        """`cells` [tiles, 196, hidden]. Empty cells are many and soon learnt, so half of the loss
        of a lesson is that of its filled cells."""
        # A 16th of the empty cells is enough.
        labels = labels.reshape(-1, WIDTH).long()
        filled = (labels[:, 0] > 0) | (labels[:, 2 * SLOTS] > 0)
        some = torch.rand(filled.shape, device=filled.device) < 0.125
        rows = (filled | some).nonzero().squeeze(-1)
        labels = labels[rows]
        logits = self.out(cells.reshape(-1, cells.shape[-1])[rows]).float()
        total = logits.new_zeros(())
        right: Dict[str, float] = {}
        begin = 0
        for column, size in enumerate(self.sizes):
            part, target = logits[:, begin:begin + size], labels[:, column]
            begin += size
            digit = column >= 2 * SLOTS + 2
            known = (target >= 0) if digit else (target > 0)
            each = F.cross_entropy(part, target.clamp_min(0), reduction="none")
            hits = (each * known).sum() / known.sum().clamp_min(1)
            # The last digit of a coordinate is a pixel: worth less.
            worth = ((1.0, 0.6, 0.1)[(column - 2 * SLOTS - 2) % 3] / 4 if digit else
                     0.3 if SLOTS <= column < 2 * SLOTS else 1.0)
            if column in (2, 5):  # third characters of a cell are rare
                worth *= 0.3
            if not digit:
                empty = target == 0
                hits = hits + (each * empty).sum() / empty.sum().clamp_min(1)
            total = total + worth * hits
            name = {0: "char", 1: "char2", SLOTS: "place", 2 * SLOTS: "shape",
                    2 * SLOTS + 1: "colour", 2 * SLOTS + 2: "digit1", 2 * SLOTS + 3: "digit2"}
            if column in name:
                correct = ((part.argmax(-1) == target) & known).sum() / known.sum().clamp_min(1)
                right[name[column]] = float(correct) if known.any() else float("nan")
        return total, right
