"""What a preset learns and is asked: tasks, their weights, and their size in tiles.

A batch holds samples of one size class, so that no short prompt is padded to a long one.
"""
import random
from dataclasses import dataclass
from typing import Callable, Dict, List

from . import chat, documents, multi, scene, scene_questions, text
from .sample import Sample


@dataclass(frozen=True)
class Maker:
    weight: float
    make: Callable[[random.Random, str, int], Sample]  # rng, font set, questions wanted


def _scene(most: int):
    def make(rng: random.Random, fonts: str, questions: int) -> Sample:
        picture = scene.make_scene(rng, most)
        while not picture.things:
            picture = scene.make_scene(rng, most)
        turns = scene_questions.scene_turns(rng, picture, questions)
        if rng.random() < 0.15:
            turns[-1:] = [chat.unknown_turn(rng)]
        return Sample([picture], turns)
    return make


def _printed(maker):
    def make(rng: random.Random, fonts: str, questions: int) -> Sample:
        picture, turn = maker(rng, fonts)
        turns = [turn]
        if questions > 1 and rng.random() < 0.1:
            turns.append(chat.unknown_turn(rng))
        return Sample([picture], turns)
    return make


def _talk(rng: random.Random, fonts: str, questions: int) -> Sample:
    return chat.make_talk(rng)


def _small_print(rng: random.Random, fonts: str):
    return text.make_paragraph(rng, fonts, small=True)


# Size class: name of the task: maker. Classes by the length of the prompt, mostly the tiles that a
# picture takes (the global view apart).
MIXES: Dict[str, Dict[str, Dict[str, Maker]]] = {
    "shapes": {"one": {"scene": Maker(12, _scene(5)), "talk": Maker(0.5, _talk)}},
    "cpu": {
        "one": {"scene": Maker(12, _scene(5)), "talk": Maker(0.5, _talk)},
        "word": {"word": Maker(1, _printed(text.make_word))},
    },
    "gpu": {
        "one": {"scene": Maker(5, _scene(8)), "word": Maker(3, _printed(text.make_word)),
                "chart": Maker(2, documents.chart_sample), "talk": Maker(0.3, _talk)},
        "few": {"line": Maker(4, _printed(text.make_line)),
                "paragraph": Maker(3, _printed(text.make_paragraph)),
                "small_print": Maker(3, _printed(_small_print)),
                "table": Maker(2, documents.table_sample),
                "receipt": Maker(2, documents.receipt_sample),
                "two_pictures": Maker(2, multi.two_pictures),
                "three_pictures": Maker(1, multi.three_pictures),
                "later_turn": Maker(2, multi.later_turn)},
    },
}
# How often a batch is of the class, and how much smaller it is.
CLASS_SHARE = {"one": 0.5, "word": 0.3, "few": 0.5}
CLASS_BATCH = {"one": 1.0, "word": 2.5, "few": 0.34}


def pick_class(rng: random.Random, mix: str) -> str:
    classes = list(MIXES[mix])
    return rng.choices(classes, [CLASS_SHARE[c] for c in classes])[0]


def make_sample(rng: random.Random, mix: str, size_class: str, fonts: str,
                questions: int) -> Sample:
    makers: List[Maker] = list(MIXES[mix][size_class].values())
    maker = rng.choices(makers, [m.weight for m in makers])[0]
    return maker.make(rng, fonts, questions)


def task_sample(rng: random.Random, mix: str, task: str, fonts: str, questions: int) -> Sample:
    """A sample of one named task, for the evaluation."""
    for makers in MIXES[mix].values():
        if task in makers:
            return makers[task].make(rng, fonts, questions)
    raise ValueError("no task %s in the mix %s" % (task, mix))
