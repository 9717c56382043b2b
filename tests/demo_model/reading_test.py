#!/usr/bin/env python3
"""The language model that training/alignment.py builds reads words before it is trained, given a
tower that knows what lies where.

Takes no arguments that count. Exit status 77 (skipped) without PyTorch or the fonts.
"""
import os
import random
import sys
import unittest
from unittest import mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
try:
    import numpy as np
    import torch
except ImportError as error:
    print("skipped: %s" % error)
    sys.exit(77)

from demo_model.corpus import make_tokenizer  # noqa: E402
from demo_model.data import fonts, text  # noqa: E402
from demo_model.data.sample import Sample  # noqa: E402
from demo_model.modeling.aux_heads import BOX, EDGE, AuxHeads, cell_labels  # noqa: E402
from demo_model.modeling.vl2 import Inputs, Vl2  # noqa: E402
from demo_model.pixels import TILE  # noqa: E402
from demo_model.training import alignment, joint_batches  # noqa: E402
from demo_model.training.presets import PRESETS  # noqa: E402
from demo_model.training.reading import character_tokens  # noqa: E402

if not fonts.has_fonts("plain"):
    print("skipped: needs the fonts")
    sys.exit(77)


class KnowingTower:
    """In the tower's place: a cell is the sum of a random vector for each thing that is true of it.
    The first pixels of a tile are its number."""

    def __init__(self, hidden: int):
        random_vectors = torch.Generator().manual_seed(5)
        self.vectors = torch.randn(BOX, EDGE + 1, hidden, generator=random_vectors) * 0.5
        self.vectors[:, 0] *= 0.2
        self.edges = torch.randn(4, hidden, generator=random_vectors) * 0.5
        self.labels = []

    def tiles_of(self, image, canvas):
        tile = np.zeros((TILE, TILE, 3), np.uint8)
        tile[0, 0, :2] = divmod(len(self.labels), 256)
        return [tile]

    def cell_labels(self, picture, canvas, whole):
        labels = cell_labels(picture, (TILE, TILE), whole)
        self.labels.append(torch.from_numpy(labels[0]).long())
        return labels

    def embed(self, labels):
        x = sum(self.vectors[i][labels[:, i]] for i in range(BOX))
        return x + (labels[:, BOX:].clamp_min(0).float() / 500 - 1) @ self.edges * (
            labels[:, BOX:BOX + 1] >= 0)

    def encode(self, tiles):
        numbers = tiles[:, 0, 0, 0].long() * 256 + tiles[:, 0, 0, 1].long()
        return torch.stack([self.embed(self.labels[n]) for n in numbers])

    def cells(self, model, pictures):
        labels = torch.cat([torch.from_numpy(cell_labels(p, (TILE, TILE), True)[0]).long()
                            for p in pictures])
        x = self.embed(labels)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)), labels


class ReadingTest(unittest.TestCase):
    def test_what_is_built_reads(self):
        torch.manual_seed(3)
        torch.set_num_threads(1)
        preset = PRESETS["cpu"]
        model = Vl2(preset.shape).eval()
        modules = torch.nn.ModuleDict({"model": model, "aux": AuxHeads(preset.shape.hidden_size)})
        tokenizer = make_tokenizer(preset.mix, preset.font_set, preset.shape.vocab_size, samples=60)
        tower = KnowingTower(preset.shape.hidden_size)
        model.encode = tower.encode
        with mock.patch.object(alignment, "_cells", tower.cells), \
                mock.patch.object(alignment, "PRINTED", 120), \
                mock.patch.object(joint_batches, "tiles_of", tower.tiles_of), \
                mock.patch.object(joint_batches, "cell_labels", tower.cell_labels):
            alignment.begin_language(modules, tokenizer, preset.font_set)
            samples = [Sample([picture], [turn]) for picture, turn in (
                text.make_word(random.Random("read %d" % i), "plain") for i in range(40))]
            tiles = joint_batches.Tiles()
            rows = [joint_batches.sample_row(s, tokenizer, tiles, True) for s in samples]
            batch = joint_batches.assemble(rows, tiles, tokenizer.pad)
            with torch.no_grad():
                hidden = model(Inputs(*(batch[k] for k in ("tiles", "ids", "source", "positions",
                                                           "segments"))))["hidden"]
                logits = model.logits(hidden)
        # Which words an answer is made of is learnt; here it is one of characters.
        chosen = [t for label, t in character_tokens(tokenizer).items() if label != EDGE]
        chosen.append(tokenizer.end)
        found = torch.tensor(chosen)[logits[..., chosen].argmax(-1)]
        wanted = batch["targets"]
        asked = wanted >= 0
        first = asked & ~torch.nn.functional.pad(asked, (1, 0))[:, :-1]
        ends = wanted == tokenizer.end
        # By chance one in sixty. Training makes all of them near 1.
        for name, places, least in (("first", first, 0.35), ("end", ends, 0.35),
                                    ("further", asked & ~first & ~ends, 0.15)):
            share = float((found == wanted)[places].float().mean())
            print("%s: %.2f" % (name, share))
            self.assertGreater(share, least, name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
