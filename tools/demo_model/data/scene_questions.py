"""Questions about a scene of shapes, with the one right answer each."""
import random
from typing import Callable, List, Optional

from .grounding import ask, group_text, in_reading_order
from .sample import Picture, Thing, Turn
from .scene import COLOURS, SHAPES

PLURAL = {"cross": "crosses"}


def plural(shape: str) -> str:
    return PLURAL.get(shape, shape + "s")


def article(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def joined(names: List[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def _yes(value: bool) -> str:
    return "Yes." if value else "No."


def _single(things: List[Thing], key: Callable[[Thing], str]) -> List[Thing]:
    """Those that no other shares the key with."""
    keys = [key(t) for t in things]
    return [t for t in things if keys.count(key(t)) == 1]


def count_all(rng: random.Random, picture: Picture) -> Optional[Turn]:
    question = rng.choice(["How many shapes are there?", "How many shapes are in the picture?",
                           "Count the shapes."])
    return Turn("count", question, "There are %d." % len(picture.things)
                if len(picture.things) != 1 else "There is 1.")


def count_some(rng: random.Random, picture: Picture) -> Optional[Turn]:
    if rng.random() < 0.5:
        shape = rng.choice([t.shape for t in picture.things] + [rng.choice(SHAPES)])
        number, what = sum(t.shape == shape for t in picture.things), plural(shape)
    else:
        colour = rng.choice([t.colour for t in picture.things] + [rng.choice(list(COLOURS))])
        number, what = sum(t.colour == colour for t in picture.things), colour + " shapes"
    return Turn("count", "How many %s are there?" % what,
                "There is 1." if number == 1 else "There are %d." % number)


def colour_of(rng: random.Random, picture: Picture) -> Optional[Turn]:
    absent = [s for s in SHAPES if all(t.shape != s for t in picture.things)]
    if absent and rng.random() < 0.12:
        shape = rng.choice(absent)
        return Turn("colour", "What colour is the %s?" % shape, "There is no %s." % shape)
    single = _single(picture.things, lambda t: t.shape)
    if not single:
        return None
    thing = rng.choice(single)
    return Turn("colour", "What colour is the %s?" % thing.shape, "It is %s." % thing.colour)


def shape_of(rng: random.Random, picture: Picture) -> Optional[Turn]:
    single = _single(picture.things, lambda t: t.colour)
    if not single:
        return None
    thing = rng.choice(single)
    question = rng.choice(["What shape is %s?", "What is the %s shape?"]) % thing.colour
    return Turn("shape", question, "It is %s." % article(thing.shape))


def exists(rng: random.Random, picture: Picture) -> Optional[Turn]:
    if rng.random() < 0.42:  # half of the answers are then yes
        name = rng.choice(picture.things).name
    else:
        name = rng.choice(list(COLOURS)) + " " + rng.choice(SHAPES)
        near = rng.choice(picture.things)  # half right is the hard kind of wrong
        if rng.random() < 0.6:
            name = rng.choice([near.colour + " " + rng.choice(SHAPES),
                               rng.choice(list(COLOURS)) + " " + near.shape])
    return Turn("exists", "Is there %s?" % article(name),
                _yes(any(t.name == name for t in picture.things)))


def where(rng: random.Random, picture: Picture) -> Optional[Turn]:
    """Ninths of the picture; centres close to a border of ninths are not asked about."""
    width, height = picture.image.size
    single = _single(picture.things, lambda t: t.name)
    clear = []
    for thing in single:
        fx, fy = thing.centre[0] / width * 3, thing.centre[1] / height * 3
        if all(abs(f - edge) > 0.1 for f in (fx, fy) for edge in (1, 2)):
            clear.append((thing, int(fx), int(fy)))
    if not clear:
        return None
    thing, column, row = rng.choice(clear)
    vertical, horizontal = ["top", "", "bottom"][row], ["left", "", "right"][column]
    place = " ".join(w for w in (vertical, horizontal) if w)
    answer = "In the middle." if not place else "At the %s." % place
    return Turn("position", "Where is the %s?" % thing.name, answer)


def side_of(rng: random.Random, picture: Picture) -> Optional[Turn]:
    single = _single(picture.things, lambda t: t.name)
    if len(single) < 2:
        return None
    a, b = rng.sample(single, 2)
    width, height = picture.image.size
    dx, dy = (a.centre[0] - b.centre[0]) / width, (a.centre[1] - b.centre[1]) / height
    horizontal = abs(dx) > abs(dy)
    if max(abs(dx), abs(dy)) < 0.12:
        return None
    words = ("left of", "right of") if horizontal else ("above", "below")
    truth = 0 if (dx if horizontal else dy) < 0 else 1
    asked = rng.randint(0, 1)
    return Turn("relation", "Is the %s %s the %s?" % (a.name, words[asked], b.name),
                _yes(asked == truth))


def largest(rng: random.Random, picture: Picture) -> Optional[Turn]:
    order = sorted(picture.things, key=lambda t: t.side)
    if len(order) < 2:
        return None
    if rng.random() < 0.5:
        if order[-1].side < 1.2 * order[-2].side:
            return None
        return Turn("size", "Which shape is the largest?", "The %s." % order[-1].name)
    if order[1].side < 1.2 * order[0].side:
        return None
    return Turn("size", "Which shape is the smallest?", "The %s." % order[0].name)


def compare_counts(rng: random.Random, picture: Picture) -> Optional[Turn]:
    kinds = sorted({t.shape for t in picture.things})
    if len(kinds) < 2:
        return None
    a, b = rng.sample(kinds, 2)
    more = sum(t.shape == a for t in picture.things) > sum(t.shape == b for t in picture.things)
    return Turn("comparison", "Are there more %s than %s?" % (plural(a), plural(b)), _yes(more))


def describe(rng: random.Random, picture: Picture) -> Optional[Turn]:
    names = [article(t.name) for t in in_reading_order(picture.things)]
    text = joined(names)
    question = rng.choice(["What is in this picture?", "Describe the picture.",
                           "What do you see?"])
    return Turn("caption", question, text[0].upper() + text[1:] + ".")


def ground_one(rng: random.Random, picture: Picture) -> Optional[Turn]:
    single = _single(picture.things, lambda t: t.name)
    if not single:
        return None
    thing = rng.choice(single)
    label = "the " + thing.name
    return Turn("grounding", ask(label), group_text(label, [thing], picture))


def ground_many(rng: random.Random, picture: Picture) -> Optional[Turn]:
    key = rng.choice(["shape", "colour"])
    value = getattr(rng.choice(picture.things), key)
    chosen = [t for t in picture.things if getattr(t, key) == value]
    label = "all " + (plural(value) if key == "shape" else value + " shapes")
    return Turn("grounding_many", ask(label), group_text(label, chosen, picture))


def grounded_caption(rng: random.Random, picture: Picture) -> Optional[Turn]:
    groups = [group_text(article(t.name), [t], picture) for t in in_reading_order(picture.things)]
    return Turn("grounded_caption", "<|grounding|>Describe the picture.", joined(groups) + ".")


# Question and how often it is asked, relative to the others.
MIX = [(count_all, 2), (count_some, 3), (colour_of, 3), (shape_of, 3), (exists, 3), (where, 3),
       (side_of, 2), (largest, 2), (compare_counts, 1), (describe, 2), (ground_one, 4),
       (ground_many, 2), (grounded_caption, 1)]


def _as_typed(rng: random.Random, question: str) -> str:
    """People also write "color", leave out the question mark, and begin with a small letter."""
    if question.startswith("<|"):
        return question
    if rng.random() < 0.3:
        question = question.replace("colour", "color")
    if rng.random() < 0.15:
        question = question.rstrip("?.")
    if rng.random() < 0.15:
        question = question[0].lower() + question[1:]
    return question


def scene_turns(rng: random.Random, picture: Picture, number: int) -> List[Turn]:
    """`number` different questions, fewer where a picture does not give them."""
    turns: List[Turn] = []
    makers = [m for m, _ in MIX]
    weights = [w for _, w in MIX]
    for _ in range(number * 4):
        turn = rng.choices(makers, weights)[0](rng, picture)
        if turn is None:
            continue
        turn.question = _as_typed(rng, turn.question)
        if all(turn.question != t.question for t in turns):
            turns.append(turn)
        if len(turns) == number:
            break
    return turns
