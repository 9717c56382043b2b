"""The fixed questions of the evaluation: the same for the same seed, whatever is evaluated.

Seeds here are no training seeds: training draws from "<seed> tower" and "<seed> joint", this from
"<seed> held out". Fonts "held_out" were never trained on.
"""
import random
from dataclasses import dataclass
from typing import Iterator, List

from PIL import Image

from ..data import mix

SEED = 20_000

# Shares of the questions by maker of data/mix.py; scenes give many kinds of questions.
PLANS = {
    "shapes": {"scene": 0.95, "talk": 0.05},
    "cpu": {"scene": 0.66, "word": 0.30, "talk": 0.04},
    "gpu": {"scene": 0.34, "word": 0.08, "line": 0.10, "paragraph": 0.07, "small_print": 0.07,
            "chart": 0.07, "table": 0.06, "receipt": 0.06, "two_pictures": 0.06,
            "three_pictures": 0.03, "later_turn": 0.04, "talk": 0.02},
}


@dataclass
class Question:
    """One request. `questions` are the turns up to the one that counts, `answers` the true ones."""
    number: int
    task: str
    pictures: List[Image.Image]
    questions: List[str]
    answers: List[str]

    @property
    def truth(self) -> str:
        return self.answers[-1]


def make_questions(mix_name: str, count: int, fonts: str, seed: int = SEED) -> Iterator[Question]:
    """`count` questions, two of each picture at most, tasks spread evenly over the list."""
    plan = PLANS[mix_name]
    rng = random.Random("%d held out order" % seed)
    names, weights = list(plan), list(plan.values())
    number = 0
    while number < count:
        maker = rng.choices(names, weights)[0]
        own = random.Random("%d held out %s %d" % (seed, fonts, number))
        sample = mix.task_sample(own, mix_name, maker, fonts, 2)
        pictures = [p.image for p in sample.pictures]
        if sample.chained:
            yield Question(number, sample.turns[-1].task, pictures,
                           [t.question for t in sample.turns], [t.answer for t in sample.turns])
            number += 1
            continue
        for turn in sample.turns:
            if number < count:
                yield Question(number, turn.task, pictures, [turn.question], [turn.answer])
                number += 1
