#!/usr/bin/env python3
"""The generator is deterministic and its labels are true; tokenizer, layout and training steps.

   generator_test.py [BIN]     with BIN the tokenizer is compared with the product's (run_once)

Exit status 77 (skipped) where numpy or Pillow are missing; without PyTorch or the fonts the parts
that need them are left out.
"""
import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
try:
    import numpy as np
    from PIL import Image  # noqa: F401
except ImportError as error:
    print("skipped: %s" % error)
    sys.exit(77)
try:
    import torch
except ImportError:
    torch = None

from demo_model import pixels  # noqa: E402
from demo_model.data import fonts, mix, scene, scene_questions, text  # noqa: E402
from demo_model.evaluation import metrics  # noqa: E402
from demo_model.tokenizer import Tokenizer, pieces, train_merges  # noqa: E402

# Fonts: see tools/demo_model/README.md. Scenes of shapes need none.
HAS_PLAIN_FONTS, HAS_ALL_FONTS = (
    fonts.has_fonts(name) for name in ("plain", "all"))
MIXES = ["shapes"] + ["cpu"] * HAS_PLAIN_FONTS + ["gpu"] * HAS_ALL_FONTS
BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""


def sample(mix_name, size_class, number):
    rng = random.Random("test %d" % number)
    return mix.make_sample(rng, mix_name, size_class, "all" if mix_name == "gpu" else "plain", 4)


def fingerprint(one):
    digest = hashlib.sha256()
    for picture in one.pictures:
        digest.update(picture.image.tobytes())
    digest.update(repr(one.turns).encode())
    return digest.hexdigest()


class GeneratorTest(unittest.TestCase):
    def test_same_seed_same_sample(self):
        for mix_name in MIXES:
            for size_class in mix.MIXES[mix_name]:
                for number in range(4):
                    first = fingerprint(sample(mix_name, size_class, number))
                    self.assertEqual(first, fingerprint(sample(mix_name, size_class, number)))
                    self.assertNotEqual(first, fingerprint(sample(mix_name, size_class, 99)))

    def test_one_tile_classes_take_one_tile(self):
        for mix_name in MIXES:
            for number in range(12):
                for picture in sample(mix_name, "one", number).pictures:
                    self.assertEqual(pixels.best_resolution(*picture.image.size), (384, 384))

    def test_shapes_have_their_colour_where_the_label_says(self):
        for number in range(10):
            picture = scene.make_scene(random.Random(number))
            for thing in picture.things:
                x, y = thing.centre
                if thing.shape == "triangle":
                    y += (thing.box[3] - thing.box[1]) * 0.2
                found = np.array(picture.image.getpixel((int(x), int(y))), float)
                nearest = min(scene.COLOURS, key=lambda c: np.abs(scene.COLOURS[c] - found).sum())
                self.assertEqual(nearest, thing.colour)

    @unittest.skipUnless(HAS_PLAIN_FONTS, "needs the fonts")
    def test_ink_lies_where_glyphs_are(self):
        for number in range(10):
            picture, turn = text.make_word(random.Random(number), "plain")
            self.assertEqual("".join(g.char for g in picture.glyphs), turn.answer)
            grey = np.asarray(picture.image.convert("L"), float)
            paper = np.median(grey)
            for glyph in picture.glyphs:
                x, y = int(glyph.x), int(glyph.y)
                near = grey[max(0, y - 16):y + 17, max(0, x - 12):x + 13]
                self.assertGreater(np.abs(near - paper).max(), 40, (turn.answer, glyph))

    def test_answers_of_a_known_scene(self):
        picture = scene.make_scene(random.Random(1))
        picture.things = [scene.Thing("circle", "red", (10, 10, 50, 50)),
                          scene.Thing("circle", "blue", (100, 10, 160, 70))]
        rng = random.Random(0)
        self.assertEqual(scene_questions.count_all(rng, picture).answer, "There are 2.")
        self.assertEqual(scene_questions.describe(rng, picture).answer,
                         "A red circle and a blue circle.")
        truths = {turn.question: turn.answer for turn in (
            scene_questions.shape_of(random.Random(i), picture) for i in range(20))}
        self.assertEqual(set(truths.values()), {"It is a circle."})


class MetricsTest(unittest.TestCase):
    def test_boxes(self):
        truth = "<|ref|>the red circle<|/ref|><|det|>[[100, 100, 300, 300]]<|/det|>"
        self.assertTrue(metrics.boxes_right(truth.replace("300, 300", "310, 290"), truth))
        self.assertFalse(metrics.boxes_right(truth.replace("100, 100", "250, 250"), truth))
        self.assertFalse(metrics.boxes_right(truth.replace("red", "blue"), truth))
        self.assertFalse(metrics.boxes_right("100, 100, 300, 300", truth))

    def test_intervals(self):
        low, high = metrics.wilson(95, 100)
        self.assertAlmostEqual(low, 0.888, 2)
        self.assertAlmostEqual(high, 0.978, 2)
        self.assertAlmostEqual(metrics.character_accuracy("cat", "cart"), 0.75)


class TokenizerTest(unittest.TestCase):
    def setUp(self):
        texts = [(" the red circle is here", 3), ("There are 12.", 2), ("\nWhat colour?\n\n", 2)]
        self.tokenizer = Tokenizer(train_merges(texts, 40), 512)

    def test_round_trip(self):
        for line in ("There are 345 red circles.", "a\n\nb  c", "<|ref|>the x<|/ref|>[[1, 2]]"):
            self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(line)), line)
            self.assertEqual("".join(pieces(line)), line)
        spelled = self.tokenizer.encode("the red", spelled=True)
        self.assertEqual((len(spelled), self.tokenizer.decode(spelled)), (7, "the red"))

    @unittest.skipUnless(torch and BIN, "needs PyTorch and the product")
    def test_product_reads_the_export_and_counts_the_same_tokens(self):
        with tempfile.TemporaryDirectory() as folder:
            from demo_model.export import export
            from demo_model.modeling.shape import SHAPES
            from demo_model.modeling.vl2 import Vl2
            torch.set_num_threads(1)
            torch.manual_seed(3)
            shape = SHAPES["tiny"]
            tokenizer = Tokenizer(self.tokenizer.merges, shape.vocab_size)
            export(Vl2(shape), tokenizer, folder)
            for line in ("What colour is the red circle?", "There are 1234 of <|ref|>it<|/ref|>!"):
                ran = subprocess.run(
                    [os.path.join(BIN, "run_once"), "--model=" + folder, "--prompt=" + line,
                     "--max_tokens=1", "--temperature=0"], capture_output=True, text=True)
                self.assertEqual(ran.returncode, 0, ran.stderr)
                ids = tokenizer.encode(": " + line + "\n\n")
                wanted = len(ids) + 3 + len(tokenizer.encode(":"))
                self.assertIn("%d tokens" % wanted, ran.stderr)


@unittest.skipUnless(torch, "needs PyTorch")
class TrainingTest(unittest.TestCase):
    def test_rows_of_one_question_are_the_prompt(self):
        from demo_model.training.joint_batches import Tiles, sample_row
        one = sample("shapes", "one", 2)
        tokenizer = Tokenizer([], 2048)
        tiles = Tiles()
        row = sample_row(one, tokenizer, tiles)
        images = sum(s != -1 for s in row.source)
        self.assertEqual(images, 421 * len(one.pictures))
        for turn_number, turn in enumerate(one.turns):
            wanted = [t for t, s in zip(row.targets, row.segments)
                      if t >= 0 and s == turn_number + 1]
            self.assertEqual(tokenizer.decode(wanted[:-1]), turn.answer)
            self.assertEqual(wanted[-1], tokenizer.end)
            starts = [p for p, s in zip(row.positions, row.segments) if s == turn_number + 1]
            self.assertEqual(starts, list(range(row.segments.count(0),
                                                row.segments.count(0) + len(starts))))

    def test_one_view_leaves_out_the_second_alone(self):
        from demo_model.training.joint_batches import Tiles, sample_row
        one = sample("shapes", "one", 2)
        tokenizer = Tokenizer([], 2048)
        both, single = (sample_row(one, tokenizer, Tiles(), one_view) for one_view in (False, True))
        self.assertEqual(len(both.ids) - len(single.ids), 14 * 15)
        self.assertEqual([t for t in both.targets if t >= 0], [t for t in single.targets if t >= 0])

    def test_cells_know_the_shape_that_covers_them(self):
        from demo_model.modeling.aux_heads import BOX, CENTRE, COLOUR, SHAPE, cell_labels
        for number in range(20):
            picture = scene.make_scene(random.Random(number))
            labels = cell_labels(picture, (384, 384), True)[0]
            self.assertLessEqual((labels[:, CENTRE] > 0).sum(), len(picture.things))
            width, height, left, top = pixels.fitted(picture.image.size, (384, 384))
            for cell in np.flatnonzero(labels[:, SHAPE]):
                x, y = (cell % 14 + 0.5) * 28, (cell // 14 + 0.5) * 28
                row = labels[cell]
                x1, y1, x2, y2 = row[BOX:] / 999 * [width, height, width, height] + [
                    left, top, left, top]
                slack = 14 if row[CENTRE] else 0  # a centre's cell may stick out of a small shape
                self.assertTrue(x1 - slack <= x <= x2 + slack and y1 - slack <= y <= y2 + slack)
                name = "%s %s" % (list(scene.COLOURS)[row[COLOUR] - 1],
                                  scene.SHAPES[row[SHAPE] - 1])
                self.assertIn(name, [thing.name for thing in picture.things])

    @unittest.skipUnless(HAS_PLAIN_FONTS, "needs the fonts")
    def test_cells_know_their_characters_and_the_next(self):
        from demo_model.modeling.aux_heads import AFTER, BEFORE, CHARS, EDGE, SLOTS, cell_labels
        for number in range(20):
            picture, turn = text.make_word(random.Random(number), "plain")
            labels = cell_labels(picture, (384, 384), True)[0]
            cells = labels[labels[:, 0] > 0]
            cells = cells[np.argsort(cells[:, SLOTS])]  # by the place of the first character
            spelled = ["".join(CHARS[c - 1] for c in cell[:SLOTS] if c) for cell in cells]
            self.assertEqual("".join(spelled), turn.answer)
            edge = [EDGE]
            self.assertEqual(list(cells[:, BEFORE]), edge + [CHARS.index(t[-1]) + 1
                                                             for t in spelled[:-1]])
            self.assertEqual(list(cells[:, AFTER]), [CHARS.index(t[0]) + 1
                                                     for t in spelled[1:]] + edge)

    def test_updates_of_matrices_are_nearly_orthogonal(self):
        from demo_model.training.muon import orthogonal
        torch.manual_seed(3)
        weights = torch.randn(3, 24, 64) * torch.logspace(0, -1, 24)[:, None]
        for matrices in (weights, weights.transpose(1, 2)):
            values = torch.linalg.svdvals(orthogonal(matrices))
            self.assertGreater(float(values.min()), 0.5)
            self.assertLess(float(values.max()), 1.3)

    def test_the_optimizers_take_every_parameter_once(self):
        from demo_model.modeling.aux_heads import AuxHeads
        from demo_model.modeling.shape import SHAPES
        from demo_model.modeling.vl2 import Vl2
        from demo_model.training.loop import make_optimizers
        modules = torch.nn.ModuleDict({"model": Vl2(SHAPES["tiny"]),
                                       "aux": AuxHeads(SHAPES["tiny"].hidden_size)})
        taken = [id(p) for optimizer in make_optimizers(modules, 1e-3, ())
                 for group in optimizer.param_groups for p in group["params"]]
        self.assertCountEqual(taken, [id(p) for p in modules.parameters()])
        before = {n: p.detach().clone() for n, p in modules.named_parameters()}
        for parameter in modules.parameters():
            parameter.grad = torch.randn_like(parameter)
        for optimizer in make_optimizers(modules, 1e-3, ()):
            optimizer.step()
        for name, parameter in modules.named_parameters():
            change = float((parameter - before[name]).pow(2).mean().sqrt())
            self.assertTrue(1e-4 < change < 2e-3, "%s changes by %g" % (name, change))

    def test_bins_are_exact_on_average(self):
        from demo_model.modeling.aux_heads import BIN, BINS, soft_bins
        values = torch.tensor([10, 15, 30, 499, 980])
        middles = (torch.arange(BINS) + 0.5) * BIN
        weights = soft_bins(values)
        self.assertTrue(torch.allclose(weights.sum(-1), torch.ones(5)))
        self.assertTrue(torch.allclose(weights @ middles, values.float(), atol=1e-3))

    def test_stages_follow_each_other(self):
        from demo_model.training.presets import PRESETS
        from demo_model.training.run import plan
        for preset in PRESETS.values():
            stages = plan(preset, "all")
            self.assertEqual(stages[0][2], 0.0)
            self.assertEqual(stages[-1][3], 1.0)
            for before, after in zip(stages, stages[1:]):
                self.assertEqual(before[3], after[2])

    @unittest.skipUnless(HAS_PLAIN_FONTS, "needs the fonts")
    def test_the_language_model_begins_by_looking_things_up(self):
        from demo_model.modeling import language
        from demo_model.modeling.aux_heads import AuxHeads
        from demo_model.modeling.vl2 import Vl2, attention_mask
        from demo_model.training import alignment
        from demo_model.training.presets import PRESETS
        torch.manual_seed(3)
        modules = torch.nn.ModuleDict({"model": Vl2(PRESETS["shapes"].shape), "aux": AuxHeads(128)})
        texts = [(" the red circle, the blue square", 9), ("\nWhere is the star?\n\n", 9)]
        tokenizer = Tokenizer(train_merges(texts, 60), 2048)
        with mock.patch.object(alignment, "PRINTED", 24):
            alignment.begin_language(modules, tokenizer, "plain")
        weights, attend = [], language.attend

        def watched(q, k, v, mask):
            weights.append((q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1))
            return attend(q, k, v, mask)

        ids = torch.tensor([tokenizer.encode("\nWhere is the red circle?\n\n")])
        model = modules["model"].language.model
        language.attend = watched
        try:
            with torch.no_grad():
                model(model.embed_tokens(ids), torch.arange(ids.shape[1])[None],
                      attention_mask(torch.zeros_like(ids)))
        finally:
            language.attend = attend
        for head, back in ((1, 1), (2, 2)):
            for at in range(2, ids.shape[1]):
                self.assertEqual(int(weights[0][0, head, at].argmax()), at - back)

    def test_fast_attention_and_gelu_have_the_right_gradients(self):
        from demo_model.modeling.attention import HeadByHead
        from demo_model.modeling.activations import silu, tanh_gelu
        torch.manual_seed(2)
        inputs = [torch.randn(2, 2, 24, 16).bfloat16() for _ in range(3)]
        up = torch.randn(2, 2, 24, 16).bfloat16()

        def gradients(function, parts, grad):
            leaves = [p.clone().requires_grad_() for p in parts]
            function(*leaves).backward(grad)
            return [leaf.grad.float() for leaf in leaves]

        fast = gradients(lambda q, k, v: HeadByHead.apply(q, k, v, None), inputs, up)
        plain = gradients(lambda q, k, v: (q @ k.transpose(-1, -2)).softmax(-1) @ v,
                          [p.float() for p in inputs], up.float())
        for a, b in zip(fast, plain):
            self.assertLess(float((a - b).norm() / b.norm()), 0.02)
        for mine, true in ((silu, torch.nn.functional.silu), (
                tanh_gelu, lambda x: torch.nn.functional.gelu(x, approximate="tanh"))):
            fast = gradients(mine, [inputs[0][0]], up[0])[0]
            plain = gradients(true, [inputs[0][0].float()], up[0].float())[0]
            self.assertLess(float((fast - plain).norm() / plain.norm()), 0.01)

    def test_every_preset_fits_the_repository(self):
        from demo_model.modeling.vl2 import Vl2
        from demo_model.training.presets import PRESETS
        for name, preset in PRESETS.items():
            size = 2 * sum(p.numel() for p in Vl2(preset.shape).parameters())
            self.assertLess(size, 24_000_000, name)

    def test_a_few_steps_learn(self):
        from demo_model.modeling.aux_heads import AuxHeads
        from demo_model.modeling.vl2 import Vl2
        from demo_model.training.presets import PRESETS
        from demo_model.training.tower_batches import tower_batches
        torch.manual_seed(1)
        torch.set_num_threads(1)
        preset = dataclasses.replace(PRESETS["tiny"], text_share=0.55 if HAS_PLAIN_FONTS else 0.0)
        model, heads = Vl2(preset.shape), AuxHeads(preset.shape.hidden_size)
        batch = next(tower_batches(preset, 1, 0, 1))
        weights = list(model.parameters()) + list(heads.parameters())
        optimizer = torch.optim.AdamW(weights, lr=3e-3)
        losses = []
        for _ in range(8):
            loss, _ = heads.loss(model.encode(batch["tiles"]), batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        self.assertLess(losses[-1], 0.8 * losses[0])


if __name__ == "__main__":
    print(json.dumps({"torch": bool(torch), "mixes": MIXES, "bin": BIN}))
    unittest.main()
