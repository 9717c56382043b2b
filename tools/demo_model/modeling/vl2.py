"""The whole model, as it is exported, and the forward pass of training."""
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from .language import Language
from .shape import Shape
from .vision import Projector, VisionTower


@dataclass
class Inputs:
    """A batch as tensors. Rows of `source` index [tiles * 196 embeddings, newline, separator];
    -1 where the token's own embedding stands."""
    tiles: torch.Tensor      # uint8 [tiles, 384, 384, 3]
    ids: torch.Tensor        # int64 [batch, length]
    source: torch.Tensor     # int64 [batch, length]
    positions: torch.Tensor  # int64 [batch, length]
    segments: torch.Tensor   # int64 [batch, length]: 0 what all questions share, -1 padding

    def to(self, device: torch.device) -> "Inputs":
        return Inputs(*(t.to(device, non_blocking=True) for t in (
            self.tiles, self.ids, self.source, self.positions, self.segments)))


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """[batch, 1, length, length] to add: causal; a question sees itself and what all share."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    query, key = segments[:, :, None], segments[:, None, :]
    seen = causal & ((key == 0) | (key == query))
    return torch.zeros_like(seen, dtype=torch.float32).masked_fill_(~seen, -1e9)[:, None]


class Vl2(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.vision = VisionTower(shape)
        self.projector = Projector(shape)
        self.image_newline = nn.Parameter(torch.randn(shape.hidden_size) * 0.5)
        self.view_seperator = nn.Parameter(torch.randn(shape.hidden_size) * 0.5)
        self.language = Language(shape)

    def encode(self, tiles: torch.Tensor) -> torch.Tensor:  # [tiles, 196, hidden]
        return self.projector(self.vision(tiles))

    def embed(self, inputs: Inputs, embeddings: Optional[torch.Tensor]) -> torch.Tensor:
        words = self.language.model.embed_tokens(inputs.ids)
        hidden = words.shape[-1]
        table = torch.cat(([embeddings.reshape(-1, hidden).to(words.dtype)]
                           if embeddings is not None else []) +
                          [self.image_newline[None], self.view_seperator[None]])
        # An index for words too, so that one gather serves; its row is not used.
        picked = F.embedding(inputs.source.clamp_min(0), table)
        return torch.where((inputs.source >= 0).unsqueeze(-1), picked, words)

    def forward(self, inputs: Inputs, tap: Optional[int] = None) -> Dict[str, torch.Tensor]:
        """hidden [batch, length, hidden] after the final norm, `embeddings` of tiles, `tapped`."""
        embeddings = self.encode(inputs.tiles) if inputs.tiles.shape[0] else None
        x = self.embed(inputs, embeddings)
        hidden, tapped = self.language.model(x, inputs.positions, attention_mask(inputs.segments),
                                             tap)
        out = {"hidden": hidden}
        if embeddings is not None:
            out["embeddings"] = embeddings
        if tapped is not None:
            out["tapped"] = tapped
        return out

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.language.lm_head(hidden)
