"""The part of the head start that reads: heads that go from a character to the next one.

A token that is a character has a code in a subspace of its own (`own`). Heads of the first two
layers copy the code of a token, or of a cell's last character, to the one or two places after it
(`before`, `earlier`). Later heads look for the cell before which the token's own character stands,
and copy its first character into a third subspace (`after`), in which the rows of the lm_head for
characters lie; or, where a cell holds two, the second one after the first. An answer begins with
the cell that begins a word, and ends where the last cell ends one.

What a layer reads, of cells and of tokens, and what it looks for are linear maps, fitted by least
squares to examples as the layers before, built so, deliver them.
"""
from typing import Callable, Dict, List, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from ..data.sample import Sample
from ..modeling.aux_heads import AFTER, BEFORE, CHARS, EDGE
from ..modeling.language import LatentAttention
from ..modeling.vl2 import Inputs, attention_mask
from ..tokenizer import Tokenizer
from .joint_batches import CELLS, Tiles, assemble, sample_row

SIZE, SHORT = 24, 6  # dimensions of a code, and of its short form
STRENGTH = 5.7       # of a code in an embedding, about half of it
LEVEL = 5.0          # of codes in the latent
FOUND = 6.0          # how much of what it reads a head adds to the answer
PASSED = 1.0         # and how much one that looks back
SAID = 3.0           # rows of the lm_head, relative to others
# Scores: of the character sought, of the one before it, of the same with an empty cell between, of
# a cell that is not empty, begins or ends a word.
SAME, EARLIER, GAP, FILLED, BEGINS, ENDS = 14.0, 5.0, 6.0, 8.0, 22.0, 8.0
# What a word scores, so that a head looks at words where nothing fits: of the head that begins,
# that goes on to the next cell, to the second of a cell, to the end.
NOTHING = {"begin": 11.0, "next": 8.0, "second": 2.5, "end": 8.0}
# What the latent of each layer holds.
HELD = [["last"], ["last short", "begins", "first"], ["before", "earlier", "filled", "first"],
        ["first", "second", "last short", "ends"]]
ROOM = 2 * SIZE + SHORT + 1  # the most of them


def _discriminants(cells: torch.Tensor, labels: torch.Tensor, number: int) -> torch.Tensor:
    """[EDGE + 1, number]: unit class means where classes lie furthest apart, relative to their own
    spread (linear discriminant analysis)."""
    classes = F.one_hot(labels, EDGE + 1).to(cells.dtype)
    counts = classes.sum(0)
    means = (classes.t() @ cells) / counts.clamp_min(1)[:, None]
    spread = cells - means[labels]
    within = spread.t() @ spread / len(cells)
    within += 0.02 * within.trace() / len(within) * torch.eye(len(within), device=cells.device)
    values, vectors = torch.linalg.eigh(within)
    middle = (means - cells.mean(0)) @ (vectors * values ** -0.5) @ vectors.t()
    axes = torch.linalg.svd(middle * counts.sqrt()[:, None], full_matrices=False)[2][:number]
    codes = middle @ axes.t()
    rare = counts < 5
    codes[rare] = torch.randn(int(rare.sum()), number, device=cells.device)
    codes = F.normalize(codes, dim=-1)
    codes[0] = 0
    return codes


class Examples:
    """Prompts with answers, and what stands at each of their places."""

    def __init__(self, samples: List[Sample], tokenizer: Tokenizer):
        tiles = Tiles()
        rows = [sample_row(s, tokenizer, tiles, one_view=True) for s in samples]
        batch = assemble(rows, tiles, tokenizer.pad)
        self.inputs = Inputs(*(batch[k] for k in ("tiles", "ids", "source", "positions",
                                                  "segments")))
        spelled = torch.zeros(tokenizer.image + 1000, dtype=torch.int64)
        for char, token in character_tokens(tokenizer).items():
            spelled[token] = char
        cells = batch["source"] < batch["labels"].shape[0] * CELLS
        cells &= batch["source"] >= 0
        labels = batch["labels"].reshape(-1, batch["labels"].shape[-1]).long()
        labels = labels[batch["source"].clamp(0, len(labels) - 1)] * cells[..., None]
        first, second, third = labels[..., :3].unbind(-1)
        last = torch.where(third > 0, third, torch.where(second > 0, second, first))
        own = torch.where(cells, last, spelled[batch["ids"]])
        own[batch["segments"] < 0] = 0
        shifted = [F.pad(own, (n, 0))[:, :own.shape[1]] for n in (1, 2)]
        self.used = batch["segments"] >= 0
        self.cells, self.answers = cells, ~cells & (own > 0)
        self.labels = {"first": first, "second": second, "last": own, "before": shifted[0],
                       "earlier": shifted[1]}
        self.flags = {"filled": first > 0, "begins": labels[..., BEFORE] == EDGE,
                      "ends": labels[..., AFTER] == EDGE}


def character_tokens(tokenizer: Tokenizer) -> Dict[int, int]:
    """Tokens of the characters that are read, by label; the colon before an answer is an edge."""
    found = {number + 1: tokenizer.encode(char, True)[0] for number, char in enumerate(CHARS)
             if char.isalnum() or char in ".%$"}
    found[EDGE] = tokenizer.encode(":")[0]
    return found


class Reader:
    """Codes, and what is fitted with them. `free` [hidden, n] are directions that codes may use."""

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, free: torch.Tensor,
                 samples: List[Sample]):
        self.decoder = model.language.model
        self.examples = Examples(samples, tokenizer)
        device = free.device
        inputs = self.examples.inputs.to(device)
        parts = [model.encode(t) for t in inputs.tiles.split(16)]
        self.inputs, self.pictures = inputs, torch.cat(parts).float()
        self.model = model
        self.kept: Dict[int, torch.Tensor] = {}  # states by layer
        cells = self.pictures.reshape(-1, self.pictures.shape[-1])
        labels = self.examples.labels["first"][self.examples.cells].to(device)
        cells = cells[inputs.source[self.examples.cells]]
        self.table = torch.zeros(EDGE + 1, SIZE, device=device)
        self.table[:, :SIZE - 1] = _discriminants(cells[labels > 0], labels[labels > 0], SIZE - 1)
        self.table[EDGE] = F.one_hot(torch.tensor(SIZE - 1), SIZE)
        short = torch.randn(SIZE, SHORT, device=device)
        self.short = F.normalize(self.table @ short, dim=-1)
        self.own, self.before, self.after, self.earlier = free[:, :3 * SIZE + SHORT].split(
            [SIZE, SIZE, SIZE, SHORT], 1)

    def spell(self, embeddings: torch.Tensor, tokenizer: Tokenizer) -> None:
        """Gives tokens of characters their codes, and takes from all others what looks like one."""
        for used in (self.own, self.after):
            embeddings -= (embeddings @ used) @ used.t()
        for label, token in character_tokens(tokenizer).items():
            embeddings[token] += STRENGTH * self.own @ self.table[label]

    def say(self, out: torch.Tensor, tokenizer: Tokenizer) -> None:
        """Lets the lm_head read which character is next, when all layers are built."""
        examples = self.examples
        following = F.pad(examples.labels["last"], (0, 1))[:, 1:]
        ends = (examples.inputs.ids == tokenizer.end).roll(-1, 1)
        following = torch.where(ends, torch.tensor(EDGE), following) * examples.answers
        wanted = self.table[following[examples.used].to(self.table.device)]
        rows = self.table @ self.fit(self.states(len(self.decoder.layers)), wanted)
        usual = rows[1:].norm(dim=-1).mean()
        for label, token in character_tokens(tokenizer).items():
            if label == EDGE:
                token = tokenizer.end
            out[token] = 0.3 * out[token] + SAID * out[token].norm() * rows[label] / usual

    def states(self, layer: int) -> torch.Tensor:
        """[n, hidden]: the normed input of a layer (or of the lm_head) at all places of the
        examples. The layers before have to be built; it is kept."""
        if layer in self.kept:
            return self.kept[layer]
        found = []
        norms = [l.input_layernorm for l in self.decoder.layers] + [self.decoder.norm]
        handle = norms[layer].register_forward_hook(
            lambda module, given, result: found.append(result))
        for i in range(0, len(self.inputs.ids), 16):
            part = Inputs(self.inputs.tiles, *(t[i:i + 16] for t in (
                self.inputs.ids, self.inputs.source, self.inputs.positions, self.inputs.segments)))
            x = self.model.embed(part, self.pictures)
            self.decoder(x, part.positions, attention_mask(part.segments))
        handle.remove()
        self.kept[layer] = torch.cat(found).float()[self.examples.used]
        return self.kept[layer]

    def wanted(self, name: str) -> torch.Tensor:
        """[n, size]: what a row of the latent is to read at all places."""
        flags = self.examples.flags.get(name)
        if flags is not None:
            return flags[self.examples.used].float()[:, None].to(self.table.device)
        table = self.short if name.endswith("short") or name == "earlier" else self.table
        return table[self.examples.labels[name.split()[0]][self.examples.used].to(table.device)]

    def fit(self, states: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """[size, hidden]: rows that read `wanted` from `states`. Half of the weight is that of
        places where there is something to read."""
        some = (wanted.abs().sum(-1) > 0).float()
        weight = (some / some.mean().clamp_min(1e-6) + 1)[:, None] / 2
        square = states.t() @ (weight * states)
        usual = square.trace() / len(square)
        square += 1e-2 * usual * torch.eye(len(square), device=states.device)
        rows = torch.linalg.solve(square, states.t() @ (weight * wanted))
        # Least squares play safe; what is there is to be met in full on average.
        return (rows * wanted.pow(2).sum() / ((states @ rows) * wanted).sum().clamp_min(1e-6)).t()

    def rows(self, layer: int) -> torch.Tensor:
        """What the latent of a layer holds for reading, [n, hidden]."""
        states = self.states(layer)
        return torch.cat([LEVEL * self.fit(states, self.wanted(name)) for name in HELD[layer]])

    def build(self, layer: int, head: int, first: int, shared: int,
              look_back: Callable[[torch.Tensor, int], None]) -> None:
        """Builds heads of a layer, from `head` on, when its latent is set. Reading's part of it
        begins at `first`; the entry `shared` is for what words have in common. `look_back` sets the
        query of a head that looks so many tokens back."""
        attention = self.decoder.layers[layer].self_attn
        words = ~self.examples.cells[self.examples.used]
        rank = attention.shape.kv_lora_rank
        latent = attention.kv_a_proj_with_mqa(self.states(layer)[words])[:, :rank]
        level = attention.kv_a_layernorm(latent)[:, shared].quantile(0.95)  # of words
        answers = self.examples.answers[self.examples.used].to(self.table.device)
        begin = answers & (self.wanted("last") @ self.table[EDGE] > 0.5)
        scale = (attention.shape.qk_nope_head_dim + attention.shape.qk_rope_head_dim) ** 0.5
        places = self._places(layer, first)

        def pass_on(values: str, to: torch.Tensor, distance: int) -> None:
            query = _clear_head(attention, head, [], places[values], PASSED * to)
            look_back(query, distance)

        def look(head: int, parts: List[Tuple[str, torch.Tensor]], nothing: float, values: str,
                 to: torch.Tensor) -> None:
            """`parts`: what of the latent is compared, with what score (at each place)."""
            keys = sum((places[name] for name, _ in parts), []) + [shared]
            query = _clear_head(attention, head, keys, places[values], FOUND * to)
            sought = torch.cat([score * scale / LEVEL for _, score in parts] +
                               [nothing * scale / level * answers[:, None].float()], -1)
            query[:len(keys)] = self.fit(self.states(layer), sought)

        same = self.wanted("last") * (answers & ~begin)[:, None]
        same_short = self.wanted("last short") * (answers & ~begin)[:, None]
        always = answers[:, None].float()
        if layer == 0:
            pass_on("last", self.before, 1)
        elif layer == 1:
            pass_on("last short", self.earlier, 2)
            look(head + 1, [("begins", BEGINS * begin[:, None].float())], NOTHING["begin"],
                 "first", self.after)
        elif layer == 2:
            earlier = self.short[self.examples.labels["before"][self.examples.used]]
            look(head, [("before", SAME * same),
                        ("earlier", EARLIER * earlier * always + GAP * same_short),
                        ("filled", FILLED * always)], NOTHING["next"], "first", self.after)
        else:
            look(head, [("first", SAME * same)], NOTHING["second"], "second", self.after)
            look(head + 1, [("last short", ENDS * same_short), ("ends", ENDS * always)],
                 NOTHING["end"], "ends", (self.after @ self.table[EDGE])[:, None])

    def _places(self, layer: int, first: int) -> Dict[str, List[int]]:
        """Where in the latent of a layer its rows are."""
        places = {}
        for name in HELD[layer]:
            size = self.wanted(name).shape[1]
            places[name] = list(range(first, first + size))
            first += size
        return places


def _clear_head(attention: LatentAttention, head: int, keys: List[int], values: List[int],
                to: torch.Tensor) -> torch.Tensor:
    """Clears a head and lets it compare the latent's entries `keys` and copy `values` `to` the
    columns. Returns the rows of its query."""
    s = attention.shape
    each = s.qk_nope_head_dim + s.v_head_dim
    up = attention.kv_b_proj.weight[head * each:(head + 1) * each]
    up.zero_()
    for i, key in enumerate(keys):
        up[i, key] = 1
    for i, value in enumerate(values):
        up[s.qk_nope_head_dim + i, value] = 1
    out = attention.o_proj.weight[:, head * s.v_head_dim:(head + 1) * s.v_head_dim]
    out.zero_()
    out[:, :to.shape[1]] = to
    size = s.qk_nope_head_dim + s.qk_rope_head_dim
    query = attention.q_proj.weight[head * size:(head + 1) * size]
    query.zero_()
    return query
