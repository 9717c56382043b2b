"""The texts a preset's tokenizer is learnt from: its questions and answers, then the word list."""
import random
from typing import List, Tuple

from .data import mix
from .data.scene import COLOURS, SHAPES
from .data.scene_questions import plural
from .data.words import word_list
from .tokenizer import Tokenizer, train_merges


def corpus(mix_name: str, fonts: str, samples: int, seed: int) -> List[Tuple[str, int]]:
    rng = random.Random("%d corpus" % seed)
    texts: List[Tuple[str, int]] = []
    for _ in range(samples):
        size_class = mix.pick_class(rng, mix_name)
        for turn in mix.make_sample(rng, mix_name, size_class, fonts, 4).turns:
            texts.append(("\n" + turn.question + "\n\n", 4))
            if not turn.spelled:
                texts.append((turn.answer, 4))
    for name in list(COLOURS) + SHAPES + [plural(s) for s in SHAPES]:
        texts += [(" " + name, 40), (name.capitalize(), 10)]
    texts += [(": ", 100), (":", 100), ("\n\n", 100)]
    for word in word_list():
        texts += [(" " + word, 1)]
    return texts


def make_tokenizer(mix_name: str, fonts: str, vocab_size: int, seed: int = 1,
                   samples: int = 600) -> Tokenizer:
    room = vocab_size - 3 - 256 - 8
    return Tokenizer(train_merges(corpus(mix_name, fonts, samples, seed), room), vocab_size)
