"""Greedy tokens and their log-probabilities as the training code computes them, in float32."""
from typing import List, Tuple

import torch

from ..data.sample import Sample, Turn
from ..modeling.vl2 import Inputs, Vl2
from ..tokenizer import Tokenizer
from ..training.joint_batches import Tiles, assemble, sample_row


@torch.no_grad()
def torch_steps(model: Vl2, tokenizer: Tokenizer, sample: Sample,
                number: int) -> Tuple[List[Tuple[bytes, float]], int]:
    """(bytes, log-probability) of `number` greedy tokens, and how many tokens the prompt has."""
    turns = list(sample.turns if sample.chained else sample.turns[:1])
    turns[-1] = Turn(turns[-1].task, turns[-1].question, "")
    tiles = Tiles()
    row = sample_row(Sample(sample.pictures, turns, sample.chained), tokenizer, tiles)
    for column in (row.ids, row.source, row.positions, row.segments, row.targets, row.worth):
        column.pop()  # the end token of the empty answer
    prompt_tokens = len(row.ids)
    embeddings = None
    steps: List[Tuple[bytes, float]] = []
    for _ in range(number):
        row.next_position = len(row.ids)
        batch = assemble([row], tiles, tokenizer.pad)
        length = len(row.ids)
        inputs = Inputs(batch["tiles"], *(batch[k][:, :length] for k in (
            "ids", "source", "positions", "segments")))
        inputs.segments = torch.zeros_like(inputs.segments)
        if embeddings is None and tiles.pixels:
            embeddings = model.encode(inputs.tiles)
        hidden, _ = model.language.model(
            model.embed(inputs, embeddings), inputs.positions,
            torch.full((length, length), -1e9).triu(1)[None, None])
        scores = model.logits(hidden[0, -1]).log_softmax(-1)
        best = int(scores.argmax())
        steps.append((tokenizer.decode_bytes([best]), float(scores[best])))
        row.add([best], 0)
    return steps, prompt_tokens
