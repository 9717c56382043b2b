"""A head start for the language model: it begins as a machine that looks things up.

Finding out from examples alone that the word "red" has to do with certain cells of a picture takes a
small model thousands of steps in which nothing else is learnt. The tower already knows what is red, so
the start is built from it:

- A linear readout of cells, fitted by least squares, gives shape and colour. The words' embeddings
  are its directions, and rows of the head its rows.
- The latent of the attention holds that readout and what else the auxiliary heads need (boxes,
  characters). In the first layers a head compares readouts (a "red" attends to red cells) and copies
  what it finds; another looks at the token before, so that "circle" knows that it is a red one. In
  the last layers all words look at those words that name a kind, and copy what these have found.

All of it goes on learning from there.
"""
import random
from typing import List, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from ..data.sample import Picture, Sample
from ..data.scene import COLOURS, SHAPES, make_scene
from ..data.scene_questions import plural, scene_turns
from ..data.text import make_word
from ..modeling.aux_heads import BOX, CENTRE, COLOUR, SHAPE, AuxHeads, cell_labels
from ..modeling.language import Language, LatentAttention
from ..modeling.shape import Shape
from ..pixels import TILE, tiles_of
from ..tokenizer import Tokenizer
from .reading import ROOM, SHORT, SIZE, Reader

KINDS = len(COLOURS) + len(SHAPES)
READ = KINDS + 2           # kinds, whether the centre of a shape lies in the cell, whether it is a word
LEVEL = 4.0                # of a readout that says yes, in the latent
SHARED = 3.0               # length of what all words have in common, and cells have not
WORD = 6.0                 # what a word that names a kind reads of itself
CARRIED = 1.5              # how much of what it reads a head adds
SAID = 3.0                 # rows of the head for such words, relative to others
# Sharpness of comparing, of looking at the token before, of looking at words that name a kind.
MATCH, BEFORE, GATHER = 25.0, 3.0, 30.0
PAIRS = 3                  # of high frequency, that tell the near past
PRINTED = 400              # examples of words that reading is built from
BOXES = 24                 # dimensions of the latent for boxes
QUIET = 0.3                # of the usual size, what everything else begins by adding
# Heads of a layer that compare, that look back (1, 2 tokens), that gather.
PLAN = [(1, 2, 0), (2, 1, 0), (1, 0, 2), (0, 0, 2)]


@torch.no_grad()
def _cells(model: nn.Module, pictures: List[Picture]) -> Tuple[torch.Tensor, torch.Tensor]:
    """Normed embeddings [n, hidden] of the cells of pictures, and their labels."""
    embeddings, labels = [], []
    for picture in pictures:
        tile = torch.from_numpy(tiles_of(picture.image, (TILE, TILE))[0].copy())[None]
        embeddings.append(model.encode(tile.to(model.image_newline.device))[0].float())
        labels.append(torch.from_numpy(cell_labels(picture, (TILE, TILE), True)[0]).long())
    x = torch.cat(embeddings)
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)), torch.cat(labels).to(x.device)


def _readout(cells: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """[READ, hidden]: about 1 where a cell is of the kind, 0 elsewhere."""
    wanted = torch.cat([F.one_hot(labels[:, COLOUR], len(COLOURS) + 1)[:, 1:],
                        F.one_hot(labels[:, SHAPE], len(SHAPES) + 1)[:, 1:],
                        labels[:, CENTRE:CENTRE + 1]], -1).float()
    filled = (labels[:, SHAPE] > 0).float()
    weight = (filled / filled.mean() + 1)[:, None]  # empty cells are many
    size = cells.shape[1]
    square = cells.t() @ (weight * cells) + 10.0 * torch.eye(size, device=cells.device)
    return torch.linalg.solve(square, cells.t() @ (weight * wanted)).t()


def _basis(rows: torch.Tensor, without: torch.Tensor, number: int) -> torch.Tensor:
    """[number, hidden], orthonormal: what `rows` read most, except along `without`."""
    rows = rows - rows.mean(0, keepdim=True)
    rows = rows - (rows @ without)[:, None] * without
    return torch.linalg.svd(rows, full_matrices=False)[2][:number]


def _latent(heads: AuxHeads, cells: torch.Tensor, labels: torch.Tensor, shared: torch.Tensor,
            readout: torch.Tensor, rank: int, reading: torch.Tensor) -> torch.Tensor:
    """[rank, hidden]: the readout, boxes, what reading needs, and whatever else characters are told
    by."""
    filled = cells[labels[:, SHAPE] > 0]
    mean = F.normalize(cells.mean(0), dim=0)
    weight, ends = heads.out.weight.data, [sum(heads.sizes[:i]) for i in (CENTRE, BOX)]
    # All cells read the same of this. Without it the norm of the latent makes much of empty ones.
    steady = 8.0 * mean / (cells @ mean).mean()
    boxes = _basis(weight[ends[1]:], mean, BOXES)
    signs = _basis(weight[:ends[0]], mean, rank - READ - BOXES - len(reading) - 1)
    boxes, signs = (5.0 * b / (filled @ b.t()).norm(dim=-1).mean() for b in (boxes, signs))
    return torch.cat([readout, shared[None], boxes, reading, steady[None], signs])


def _way_back(rows: torch.Tensor) -> torch.Tensor:
    """[hidden, n]: vectors of which each row reads one as 1 and the others as 0. Nearly so: whatever
    has a colour has a shape, so one of the kinds' rows follows from the others."""
    return torch.linalg.pinv(rows, rtol=0.05)


def _build_head(attention: LatentAttention, head: int, back: torch.Tensor, part: int) -> slice:
    """Head `head` carries the values of one part of the latent (as many as it has room for) back to
    where they were read. Returns the rows of its query."""
    s = attention.shape
    each = s.qk_nope_head_dim + s.v_head_dim
    up = attention.kv_b_proj.weight[head * each:(head + 1) * each]
    up.zero_()
    up[:READ, :READ] = torch.eye(READ)
    first = min(part * s.v_head_dim, back.shape[1] - 1)
    carried = min(s.v_head_dim, back.shape[1] - first)
    up[s.qk_nope_head_dim:s.qk_nope_head_dim + carried, first:first + carried] = torch.eye(carried)
    out = attention.o_proj.weight[:, head * s.v_head_dim:(head + 1) * s.v_head_dim]
    out.mul_(0.3)
    out[:, :carried] += CARRIED * back[:, first:first + carried]
    size = s.qk_nope_head_dim + s.qk_rope_head_dim
    rows = slice(head * size, (head + 1) * size)
    attention.q_proj.weight[rows] *= 0.2
    return rows


def _build_layer(attention: LatentAttention, latent: torch.Tensor, level: float,
                 frequencies: torch.Tensor, matches: int, before: int, gathers: int) -> None:
    """Builds a layer's heads as PLAN says. `level`: what a word reads of itself."""
    s = attention.shape
    shared = F.normalize(latent[READ - 1], dim=0)
    back = _way_back(latent[:READ + BOXES])
    back[:, READ - 1] = 0
    attention.kv_a_proj_with_mqa.weight[:s.kv_lora_rank] = latent
    rope = attention.kv_a_proj_with_mqa.weight[s.kv_lora_rank:]
    rope *= 0.2
    rope[0:2 * PAIRS:2] += shared
    for head in range(matches):
        rows = _build_head(attention, head, back, head)
        query = attention.q_proj.weight[rows]
        query[:KINDS] += MATCH / level * latent[:KINDS]
        query[READ - 1] -= 1.5 * MATCH / level * latent[READ - 1]  # no words are looked for
    for number in range(before):
        rows = _build_head(attention, matches + number, back, 0)
        _look_back(attention.q_proj.weight[rows][s.qk_nope_head_dim:], number + 1,
                   frequencies[:PAIRS], shared)
    for number in range(gathers):
        rows = _build_head(attention, matches + before + number, back, number)
        # Words score by what they share, cells by their kind, words that name a kind by both.
        attention.q_proj.weight[rows][:READ] += GATHER / level * latent[READ - 1]
    attention.o_proj.weight[:, (matches + before + gathers) * s.v_head_dim:] *= QUIET


def _look_back(query: torch.Tensor, distance: int, frequencies: torch.Tensor,
               shared: torch.Tensor) -> None:
    """`query`: the rotated rows of a head, which then looks at the token `distance` before."""
    angle = distance * frequencies
    query[0:2 * len(angle):2] += BEFORE * angle.cos()[:, None] * shared
    query[1:2 * len(angle):2] -= BEFORE * angle.sin()[:, None] * shared


@torch.no_grad()
def begin_language(modules: nn.ModuleDict, tokenizer: Tokenizer, font_set: str) -> None:
    """A fresh language model, built on what the tower of `modules` knows."""
    model, heads = modules["model"], modules["aux"]
    shape = model.shape
    model.language = Language(shape).to(model.image_newline.device)
    embeddings, out = model.language.model.embed_tokens.weight, model.language.lm_head.weight
    rng = random.Random("alignment")
    cells, labels = _cells(model, [make_scene(rng, 5) for _ in range(64)])
    readout = LEVEL * _readout(cells, labels)
    known = torch.linalg.qr(torch.cat([readout, cells.mean(0, keepdim=True)]).t())[0]
    # What words have in common is what cells have least of, and kinds not at all.
    squares = cells.t() @ cells / len(cells)
    quiet = torch.linalg.eigh(squares + squares.trace() * known @ known.t())[1]
    shared = quiet[:, 0]
    known = torch.cat([known, shared[:, None]], 1)
    embeddings -= (embeddings @ known) @ known.t()  # no word is a kind by chance
    kinds = [_one(tokenizer, [" " + c]) for c in COLOURS] + \
        [_one(tokenizer, [" " + s, " " + plural(s)]) for s in SHAPES]
    inward = 0.6 * WORD * _way_back(readout)[:, :KINDS].t()  # the norm makes 1 of the 0.6
    for direction, ids in zip(inward, kinds):
        for token in ids:
            embeddings[token] += direction
            out[token] = 0.3 * out[token] + SAID * F.normalize(direction, dim=0) * out[token].norm()
    embeddings += SHARED * shared
    if not _fits(shape):
        return
    layers = model.language.model.layers
    for name, weight in layers.named_parameters():
        if name.endswith((".down_proj.weight", "expert_down")):
            weight *= QUIET
    reader = Reader(model, tokenizer, quiet[:, 1:],
                    [Sample([picture], [turn]) for picture, turn in
                     (make_word(rng, font_set) for _ in range(PRINTED))] +
                    [Sample([picture], scene_turns(rng, picture, 1)) for picture in
                     (make_scene(rng, 5) for _ in range(PRINTED // 8)) if picture.things])
    reader.spell(embeddings, tokenizer)
    words = embeddings[kinds[0] + kinds[-1]]
    words = words * torch.rsqrt(words.pow(2).mean(-1, keepdim=True))
    level = float((words @ readout[:KINDS].t()).max(-1).values.mean())
    shared = shared * level / (words @ shared).mean()  # a word reads as much of this as of itself
    frequencies = model.language.model.frequencies
    for number, heads_of in enumerate(PLAN):
        latent = _latent(heads, cells, labels, shared, readout, shape.kv_lora_rank,
                         reader.rows(number))
        _build_layer(layers[number].self_attn, latent, level, frequencies, *heads_of)
        reader.build(number, sum(heads_of), READ + BOXES, READ - 1,
                     lambda query, distance: _look_back(
                         query[shape.qk_nope_head_dim:], distance, frequencies[:PAIRS],
                         F.normalize(shared, dim=0)))
    reader.say(out, tokenizer)


def _fits(shape: Shape) -> bool:
    """Whether there is room for what is built."""
    return shape.kv_lora_rank >= READ + BOXES + ROOM + 1 and \
        min(shape.qk_nope_head_dim, shape.v_head_dim) >= SIZE + SHORT + 2 and \
        shape.num_hidden_layers >= len(PLAN) and shape.num_attention_heads > max(map(sum, PLAN)) + 1


def _one(tokenizer: Tokenizer, spellings: List[str]) -> List[int]:
    """Ids of the spellings that are one token."""
    found = [tokenizer.encode(spelling) for spelling in spellings]
    return [ids[0] for ids in found if len(ids) == 1]
