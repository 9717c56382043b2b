"""Batches for the stages that answer: whole prompts as the product builds them, and answers.

Several questions about the same pictures share one prompt: each is a segment of its own that sees
the pictures and itself, at the positions it would have alone. Pictures are what costs.
"""
import random
from typing import Dict, Iterator, List, Tuple

import numpy as np
import torch

from ..data.mix import CLASS_BATCH, make_sample, pick_class
from ..data.sample import Sample, Turn
from ..modeling.aux_heads import WIDTH, cell_labels
from ..pixels import SIDE, TILE, best_resolution, tiles_of
from ..tokenizer import Tokenizer
from .presets import Preset

CELLS = SIDE * SIDE
NEWLINE, SEPARATOR = -2, -3  # until the number of tiles is known


class Tiles:
    """Tiles of a batch, each once, with the labels of their cells."""

    def __init__(self) -> None:
        self.pixels: List[np.ndarray] = []
        self.labels: List[np.ndarray] = []

    def add(self, picture, canvas: Tuple[int, int], whole: bool) -> int:
        first = len(self.pixels)
        self.pixels += tiles_of(picture.image, canvas)
        self.labels += list(cell_labels(picture, canvas, whole))
        return first

    def picture_source(self, picture, tiled: bool, one_view: bool) -> List[int]:
        """Rows of the embedding table in prompt order: global view, separator, local view. `one_view`
        leaves out what comes after the global view where it would show the same once more."""
        first = self.add(picture, (TILE, TILE), True)
        canvas = best_resolution(*picture.image.size) if tiled else (TILE, TILE)
        wide, high = canvas[0] // TILE, canvas[1] // TILE
        # One local tile shows just what the global view shows.
        local = first if wide * high == 1 else self.add(picture, canvas, False)
        rows: List[int] = []
        for y in range(SIDE):
            rows += [first * CELLS + y * SIDE + x for x in range(SIDE)] + [NEWLINE]
        rows.append(SEPARATOR)
        if one_view and local == first:
            return rows
        for y in range(SIDE * high):
            for tile in range(wide):
                at = (local + y // SIDE * wide + tile) * CELLS + y % SIDE * SIDE
                rows += range(at, at + SIDE)
            rows.append(NEWLINE)
        return rows


class Row:
    """One sample as columns: id, source, position, segment, target, worth."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.ids: List[int] = []
        self.source: List[int] = []
        self.positions: List[int] = []
        self.segments: List[int] = []
        self.targets: List[int] = []
        self.worth: List[float] = []
        self.next_position = 0

    def add(self, ids: List[int], segment: int, source: List[int] = ()) -> None:
        begin = self.next_position
        self.next_position += len(ids)
        self.ids += ids
        self.source += list(source) or [-1] * len(ids)
        self.positions += range(begin, begin + len(ids))
        self.segments += [segment] * len(ids)
        self.targets += [-100] * len(ids)
        self.worth += [0.0] * len(ids)

    def answer(self, turn: Turn, segment: int, learnt: bool) -> None:
        spelled = turn.spelled and learnt
        ids = self.tokenizer.encode(turn.answer, spelled) + [self.tokenizer.end]
        at = len(self.ids)
        self.add(ids, segment)
        if learnt:
            worth = len(ids) ** -0.5
            self.targets[at - 1:at - 1 + len(ids)] = ids
            self.worth[at - 1:at - 1 + len(ids)] = [worth] * len(ids)


def sample_row(sample: Sample, tokenizer: Tokenizer, tiles: Tiles, one_view: bool = False) -> Row:
    """As text/chat_template.cc renders it; the client puts pictures in front of the question."""
    row = Row(tokenizer)
    row.add([tokenizer.begin, tokenizer.user], 0)
    tiled = len(sample.pictures) <= 2
    if sample.pictures:
        row.add(tokenizer.encode(": "), 0)
    for i, picture in enumerate(sample.pictures):
        if i > 0:
            row.add(tokenizer.encode("\n"), 0)
        source = tiles.picture_source(picture, tiled, one_view)
        row.add([tokenizer.image] * len(source), 0, source)
    shared = row.next_position
    for number, turn in enumerate(sample.turns):
        segment = 0 if sample.chained else number + 1
        first = number == 0 or not sample.chained
        if not sample.chained:
            row.next_position = shared
        if not first:
            row.add([tokenizer.user], segment)
        lead = "\n" if first and sample.pictures else ": "
        row.add(tokenizer.encode(lead + turn.question + "\n\n"), segment)
        row.add([tokenizer.assistant] + tokenizer.encode(":"), segment)
        last = number + 1 == len(sample.turns)
        row.answer(turn, segment, learnt=last or not sample.chained)
    return row


def assemble(rows: List[Row], tiles: Tiles, pad: int) -> Dict[str, torch.Tensor]:
    length = (max(len(r.ids) for r in rows) + 15) // 16 * 16

    def padded(values: List[List], fill, kind) -> torch.Tensor:
        out = np.full((len(values), length), fill, kind)
        for i, row in enumerate(values):
            out[i, :len(row)] = row
        return torch.from_numpy(out)

    source = padded([r.source for r in rows], -1, np.int64)
    embeddings = len(tiles.pixels) * CELLS
    source[source == NEWLINE] = embeddings
    source[source == SEPARATOR] = embeddings + 1
    empty = np.zeros((0, TILE, TILE, 3), np.uint8)
    return {
        "tiles": torch.from_numpy(np.stack(tiles.pixels) if tiles.pixels else empty),
        "labels": torch.from_numpy(np.stack(tiles.labels) if tiles.labels else
                                   np.zeros((0, CELLS, WIDTH), np.int16)),
        "ids": padded([r.ids for r in rows], pad, np.int64), "source": source,
        "positions": padded([r.positions for r in rows], 0, np.int64),
        "segments": padded([r.segments for r in rows], -1, np.int64),
        "targets": padded([r.targets for r in rows], -100, np.int64),
        "worth": padded([r.worth for r in rows], 0.0, np.float32)}


def joint_batches(preset: Preset, tokenizer: Tokenizer, seed: int, first: int, step: int,
                  one_view: bool = False) -> Iterator[Dict]:
    """Batch numbers first, first + step, ...: the same batch for the same number."""
    number = first
    while True:
        rng = random.Random("%d joint %d" % (seed, number))
        size_class = pick_class(rng, preset.mix)
        tiles = Tiles()
        rows = [sample_row(make_sample(rng, preset.mix, size_class, preset.font_set,
                                       preset.questions), tokenizer, tiles, one_view)
                for _ in range(max(1, int(preset.joint_batch * CLASS_BATCH[size_class])))]
        yield assemble(rows, tiles, tokenizer.pad)
        number += step
