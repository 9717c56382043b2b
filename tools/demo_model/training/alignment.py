"""A head start for the language model: words begin where the tower already puts their meaning.

After the first stage the auxiliary heads hold a direction for each shape and colour. The word's
embedding and its row of the head begin as that direction, and some heads of attention begin by
comparing a token with all others and copying what they find (see modeling/language.py): asking for
"circle" then looks at circles from the first step.
"""
from typing import List

import torch
from torch import nn

from ..data.scene import COLOURS, SHAPES
from ..data.scene_questions import plural
from ..modeling.aux_heads import AuxHeads, SLOTS
from ..modeling.language import Language
from ..tokenizer import Tokenizer


def _directions(heads: AuxHeads, lesson: int) -> torch.Tensor:
    """Unit rows, one a class but the first ("nothing here"), less what all of them share."""
    begin = sum(heads.sizes[:lesson])
    rows = heads.out.weight.data[begin + 1:begin + heads.sizes[lesson]]
    rows = rows - rows.mean(0, keepdim=True)
    return rows / rows.norm(dim=-1, keepdim=True)


@torch.no_grad()
def begin_language(modules: nn.ModuleDict, tokenizer: Tokenizer) -> None:
    """A fresh language model whose words for shapes and colours are the tower's."""
    model, heads = modules["model"], modules["aux"]
    device = model.image_newline.device
    model.language = Language(model.shape).to(device)
    groups = [(_directions(heads, 2 * SLOTS), [[s, plural(s)] for s in SHAPES]),
              (_directions(heads, 2 * SLOTS + 1), [[c] for c in COLOURS])]
    embeddings = model.language.model.embed_tokens.weight
    out = model.language.lm_head.weight
    for directions, names in groups:
        for direction, spellings in zip(directions, names):
            for spelling in spellings:
                ids: List[int] = tokenizer.encode(" " + spelling)
                if len(ids) == 1:
                    embeddings[ids[0]] = 0.3 * embeddings[ids[0]] + \
                        direction * embeddings[ids[0]].norm()
                    out[ids[0]] = 0.3 * out[ids[0]] + direction * out[ids[0]].norm()
