"""Auxiliary lessons for the projector's outputs, dropped at export.

The generator knows what lies in every 28 x 28 pixels of a tile. Predicting it there teaches the
tower hundreds of facts a picture; the language model then only has to learn to look them up.
"""
from typing import Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..data.grounding import thousandth
from ..data.sample import Glyph, Picture, Thing
from ..data.scene import COLOURS, SHAPES
from ..pixels import SIDE, TILE, fitted

CHARS = "".join(chr(c) for c in range(33, 127))
SLOTS = 3          # characters of a cell, in reading order
MAX_INDEX = 15     # place in the line, 0 for none, further ones count as the last
CELL = 28.0
BINS, BIN = 50, 20.0  # of a coordinate in thousandths
# Columns of a label row: characters, places in line, the characters before the first and after the
# last of them, then what shape covers the cell: whether its centre lies here, shape, colour, and its
# box in thousandths of the picture.
BEFORE, AFTER, CENTRE = 2 * SLOTS, 2 * SLOTS + 1, 2 * SLOTS + 2
SHAPE, COLOUR, BOX = CENTRE + 1, CENTRE + 2, CENTRE + 3
EDGE = len(CHARS) + 1  # stands before the first character of a word and after its last
WIDTH = BOX + 4
IGNORED = -100
# Of lessons in the loss, where not 1. Third characters of a cell are rare.
WORTH = {2: 0.3, SLOTS: 0.5, SLOTS + 1: 0.3, SLOTS + 2: 0.1, BEFORE: 0.5, AFTER: 0.5}
COVERED = 0.8      # of the half axes: cells this near to the middle of a shape belong to it


def _covered_cells(thing: Thing, sx: float, sy: float, left: float,
                   top: float) -> List[Tuple[int, int]]:
    """(column, row) of the cells of the one tile whose middle lies well inside the shape."""
    x1, y1, x2, y2 = (left + thing.box[0] * sx, top + thing.box[1] * sy,
                      left + thing.box[2] * sx, top + thing.box[3] * sy)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    half_x, half_y = max(1e-6, (x2 - x1) / 2), max(1e-6, (y2 - y1) / 2)
    found = []
    for row in range(max(0, int(y1 / CELL)), int(min(y2, TILE - 1) / CELL) + 1):
        for column in range(max(0, int(x1 / CELL)), int(min(x2, TILE - 1) / CELL) + 1):
            dx = ((column + 0.5) * CELL - cx) / half_x
            dy = ((row + 0.5) * CELL - cy) / half_y
            if dx * dx + dy * dy < COVERED * COVERED:
                found.append((column, row))
    return found


def _joined(left: Optional[Glyph], right: Optional[Glyph], wanted: Optional[Glyph]) -> int:
    """The label of `wanted`, one of two glyphs, if both belong to one word."""
    one_word = left is not None and right is not None and right.index == left.index + 1
    return CHARS.find(wanted.char) + 1 if one_word else EDGE


def cell_labels(picture: Picture, canvas: Tuple[int, int], whole: bool) -> np.ndarray:
    """int16 [tiles, 196, WIDTH] for the view of `picture` on `canvas`. Boxes are told where the
    tile shows the `whole` picture: a part cannot know where it lies."""
    wide, high = canvas[0] // TILE, canvas[1] // TILE
    labels = np.zeros((wide * high, SIDE * SIDE, WIDTH), np.int16)
    labels[:, :, BOX:] = IGNORED
    w, h, left, top = fitted(picture.image.size, canvas)
    sx, sy = w / picture.image.width, h / picture.image.height

    def cell(x: float, y: float) -> Tuple[int, int]:
        cx, cy = left + x * sx, top + y * sy
        tx, ty = min(wide - 1, int(cx // TILE)), min(high - 1, int(cy // TILE))
        column = min(SIDE - 1, max(0, int((cx - tx * TILE) // CELL)))
        row = min(SIDE - 1, max(0, int((cy - ty * TILE) // CELL)))
        return ty * wide + tx, row * SIDE + column

    for before, glyph, after in zip([None] + picture.glyphs, picture.glyphs,
                                    picture.glyphs[1:] + [None]):
        tile, place = cell(glyph.x, glyph.y)
        row = labels[tile, place]
        for slot in range(SLOTS):
            if row[slot] == 0:
                row[slot] = CHARS.find(glyph.char) + 1
                row[SLOTS + slot] = min(MAX_INDEX, glyph.index + 1)
                if slot == 0:
                    row[BEFORE] = _joined(before, glyph, before)
                row[AFTER] = _joined(glyph, after, after)
                break
    for thing in picture.things:
        tile, place = cell(*thing.centre)
        labels[tile, place, CENTRE] = 1
        rows = [labels[tile, place]]
        if whole and wide * high == 1:
            rows += [labels[0, r * SIDE + c] for c, r in
                     _covered_cells(thing, sx, sy, left, top)]
        for row in rows:
            row[SHAPE] = SHAPES.index(thing.shape) + 1
            row[COLOUR] = list(COLOURS).index(thing.colour) + 1
            if whole:
                for i, value in enumerate(thing.box):
                    row[BOX + i] = thousandth(value, picture.image.size[i % 2])
    return labels


def soft_bins(values: torch.Tensor) -> torch.Tensor:
    """[n] thousandths to [n, BINS]: the two nearest bins share the weight, so that near misses
    cost less than far ones."""
    at = (values.float() / BIN - 0.5).clamp(0, BINS - 1)
    low = at.floor().clamp_max(BINS - 2)
    part = (at - low).unsqueeze(-1)
    low = low.long().unsqueeze(-1)
    weights = torch.zeros(values.shape[0], BINS, device=values.device)
    return weights.scatter(-1, low, 1 - part).scatter(-1, low + 1, part)


class AuxHeads(nn.Module):
    """One linear layer to all lessons. `loss` also tells how many are right, by lesson."""

    def __init__(self, hidden: int):
        super().__init__()
        # A coordinate is told three times: its bin, its first digit, its second.
        self.sizes: List[int] = ([len(CHARS) + 1] * SLOTS + [MAX_INDEX + 1] * SLOTS +
                                 [EDGE + 1] * 2 + [2, len(SHAPES) + 1, len(COLOURS) + 1] +
                                 [BINS, 10, 10] * 4)
        self.out = nn.Linear(hidden, sum(self.sizes))

    def loss(self, cells: torch.Tensor, labels: torch.Tensor) -> Tuple[torch.Tensor,
                                                                       Dict[str, float]]:
        """`cells` [tiles, 196, hidden]. Empty cells are many and soon learnt, so half of the loss
        of a lesson is that of its filled cells."""
        labels = labels.reshape(-1, WIDTH).long()
        filled = (labels[:, 0] > 0) | (labels[:, SHAPE] > 0)
        some = torch.rand(filled.shape, device=filled.device) < 0.125  # of the empty: enough
        rows = (filled | some).nonzero().squeeze(-1)
        labels = labels[rows]
        parts = self.out(cells.reshape(-1, cells.shape[-1])[rows]).float().split(self.sizes, -1)
        total, right = self._classes(parts, labels)
        boxed = (labels[:, BOX] >= 0).nonzero().squeeze(-1)
        if len(boxed):
            boxes, more = self._boxes([p[boxed] for p in parts[BOX:]], labels[boxed, BOX:])
            total, right = total + boxes, dict(right, **more)
        return total, right

    @staticmethod
    def _classes(parts, labels: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, float]]:
        total = parts[0].new_zeros(())
        right: Dict[str, float] = {}
        names = {0: "char", 1: "char2", SLOTS: "place", BEFORE: "before", AFTER: "after",
                 CENTRE: "centre", SHAPE: "shape", COLOUR: "colour"}
        for column in range(BOX):
            part, target = parts[column], labels[:, column]
            known = target > 0
            each = F.cross_entropy(part, target, reduction="none")
            mean = (each * known).sum() / known.sum().clamp_min(1) + \
                (each * ~known).sum() / (~known).sum().clamp_min(1)
            total = total + WORTH.get(column, 1.0) * mean
            if column in names and known.any():
                hits = ((part.argmax(-1) == target) & known).sum() / known.sum()
                right[names[column]] = float(hits)
        return total, right

    @staticmethod
    def _boxes(parts, boxes: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, float]]:
        total = parts[0].new_zeros(())
        near = digits = 0.0
        for i in range(4):
            value = boxes[:, i]
            bins, first, second = parts[3 * i:3 * i + 3]
            total = total - 0.5 * (soft_bins(value) * bins.log_softmax(-1)).sum(-1).mean()
            total = total + 0.25 * F.cross_entropy(first, value // 100) + \
                0.15 * F.cross_entropy(second, value // 10 % 10)
            found = (bins.argmax(-1).float() + 0.5) * BIN
            near += float(((found - value).abs() <= 1.5 * BIN).float().mean()) / 4
            digits += float((first.argmax(-1) == value // 100).float().mean()) / 4
        return total, {"box": near, "digit": digits}
