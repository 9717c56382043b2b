"""Words, codes and sentences to print. words.txt: see WORDS-LICENCE.txt."""
import functools
import os
import random
import string
from typing import List

NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jack", "Kate",
         "Leo", "Mary", "Nora", "Oscar", "Paul", "Rosa", "Sam", "Tom", "Vera"]
LETTERS = string.ascii_letters + string.digits


@functools.lru_cache(maxsize=None)
def word_list() -> List[str]:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "words.txt")
    with open(path, encoding="ascii") as file:
        return file.read().split()


@functools.lru_cache(maxsize=None)
def words_up_to(letters: int) -> List[str]:
    return [w for w in word_list() if len(w) <= letters]


def word(rng: random.Random, longest: int = 10) -> str:
    """A word in one of the usual cases."""
    text = rng.choice(words_up_to(longest))
    roll = rng.random()
    if roll < 0.25:
        return text.upper()
    return text.capitalize() if roll < 0.5 else text


def code(rng: random.Random, letters: int) -> str:
    """No word of any language: reading must not lean on the list."""
    return "".join(rng.choice(LETTERS) for _ in range(letters))


def number(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.4:
        return str(rng.randint(0, 9999))
    if roll < 0.7:
        return "%d.%02d" % (rng.randint(0, 99), rng.randint(0, 99))
    return "%d%%" % rng.randint(1, 100) if roll < 0.85 else "$%d" % rng.randint(1, 999)


def short_text(rng: random.Random, longest: int) -> str:
    """One printed word, code or number of at most `longest` characters."""
    roll = rng.random()
    if roll < 0.72:
        return word(rng, longest)
    if roll < 0.87:
        return code(rng, rng.randint(2, longest))
    return number(rng)[:longest]


def sentence(rng: random.Random, low: int = 3, high: int = 9) -> str:
    words = [rng.choice(word_list()) for _ in range(rng.randint(low, high))]
    if rng.random() < 0.2:
        words[rng.randrange(len(words))] = number(rng)
    if rng.random() < 0.2:
        words[rng.randrange(len(words))] = rng.choice(NAMES)
    if len(words) > 4 and rng.random() < 0.3:
        words[rng.randrange(1, len(words) - 1)] += ","
    text = " ".join(words)
    return text[0].upper() + text[1:] + rng.choice("....?!")
