"""Batches for the first stage: tiles and what lies in their cells. No language."""
import random
from typing import Dict, Iterator

import numpy as np
import torch

from ..data.sample import Picture
from ..data.scene import make_scene
from ..data.text import make_page, make_word
from ..modeling.aux_heads import cell_labels
from ..pixels import TILE, tiles_of
from .presets import Preset


def tower_picture(rng: random.Random, preset: Preset) -> Picture:
    roll = rng.random()
    if roll > preset.text_share:
        return make_scene(rng, preset.most_things)
    if roll < preset.text_share * 0.4:
        return make_word(rng, preset.font_set)[0]
    return make_page(rng, preset.font_set, preset.smallest_print)


def tower_batches(preset: Preset, seed: int, first: int, step: int) -> Iterator[Dict]:
    """Batch numbers first, first + step, ...: the same batch for the same number, whoever makes
    it."""
    number = first
    while True:
        rng = random.Random("%d tower %d" % (seed, number))
        pictures = [tower_picture(rng, preset) for _ in range(preset.tower_batch)]
        tiles = np.stack([tiles_of(p.image, (TILE, TILE))[0] for p in pictures])
        labels = np.concatenate([cell_labels(p, (TILE, TILE), whole=True) for p in pictures])
        yield {"tiles": torch.from_numpy(tiles), "labels": torch.from_numpy(labels)}
        number += step
