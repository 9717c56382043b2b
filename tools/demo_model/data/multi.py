"""Two and three pictures in a prompt, and questions on a later turn."""
import random
from typing import List

from . import scene, scene_questions, text
from .sample import Picture, Sample, Turn

ORDINALS = ["first", "second", "third"]


def _few_things(rng: random.Random) -> Picture:
    picture = scene.make_scene(rng, 3)
    return picture if picture.things else _few_things(rng)


def _about(rng: random.Random, which: int, picture: Picture, task: str) -> Turn:
    """A question that names the picture it is about."""
    place = ORDINALS[which] + " picture"
    if picture.glyphs:
        text_read = "".join(g.char for g in picture.glyphs)
        return Turn(task, "What does the %s say?" % place, text_read, spelled=True)
    if rng.random() < 0.5:
        number = len(picture.things)
        return Turn(task, "How many shapes are in the %s?" % place,
                    "There is 1." if number == 1 else "There are %d." % number)
    names = [scene_questions.article(t.name)
             for t in sorted(picture.things, key=lambda t: t.box[0])]
    answer = scene_questions.joined(names)
    return Turn(task, "What is in the %s?" % place, answer[0].upper() + answer[1:] + ".")


def _several(rng: random.Random, fonts: str, number: int, task: str, questions: int) -> Sample:
    pictures = [text.make_word(rng, fonts)[0] if rng.random() < 0.4 else _few_things(rng)
                for _ in range(number)]
    turns: List[Turn] = []
    for _ in range(questions):
        which = rng.randrange(number)
        turn = _about(rng, which, pictures[which], task)
        if all(turn.question != t.question for t in turns):
            turns.append(turn)
    return Sample(pictures, turns)


def two_pictures(rng: random.Random, fonts: str, questions: int) -> Sample:
    return _several(rng, fonts, 2, "two_pictures", questions)


def three_pictures(rng: random.Random, fonts: str, questions: int) -> Sample:
    return _several(rng, fonts, 3, "three_pictures", questions)


def later_turn(rng: random.Random, fonts: str, questions: int) -> Sample:
    """One conversation; the last turn is the one that counts."""
    picture = scene.make_scene(rng, 4)
    while not picture.things:
        picture = scene.make_scene(rng, 4)
    turns = scene_questions.scene_turns(rng, picture, rng.randint(2, 3))
    turns[-1].task = "later_turn"
    return Sample([picture], turns, chained=True)
