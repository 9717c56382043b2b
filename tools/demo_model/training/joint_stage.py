"""The stages that answer questions; cells stay a smaller part of the loss.

"readout": tower, words and attention stay as alignment.py built them; the rest learns the form of
answers and what to do with what the heads find. Without this stage the lookups are worn away while
the form is learnt. "language": all of the language model learns. Both show a picture of one tile once
instead of twice: half the tokens. "joint": the whole model learns, on prompts as the product builds
them. What was built learns at a slower rate throughout.
"""
import itertools
from typing import Dict, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from ..modeling.vl2 import Inputs
from ..tokenizer import Tokenizer
from .joint_batches import joint_batches
from .loop import Log, loader, run_stage
from .pair import Peers
from .presets import Preset

CELLS_WORTH = 0.2     # of the loss of the lessons of cells
NEW_HEADS_STEPS = 250  # for heads of cells that begin from nothing, beside a model that does not
BALANCE_RATE = 0.002  # step of the router's correction bias
SEES = ("vision", "projector", "image_newline", "view_seperator")
FINDS = ("self_attn", "embed_tokens")
FIXED = {"readout": SEES + FINDS, "language": SEES, "joint": ()}  # by stage


def answer_loss(model: nn.Module, hidden: torch.Tensor, targets: torch.Tensor,
                worth: torch.Tensor) -> Tuple[torch.Tensor, float]:
    """Weighted cross entropy of the answers' tokens, and the share of them that come first."""
    rows = (targets >= 0).reshape(-1).nonzero().squeeze(-1)
    logits = model.logits(hidden.reshape(-1, hidden.shape[-1])[rows]).float()
    wanted, weights = targets.reshape(-1)[rows], worth.reshape(-1)[rows]
    each = F.cross_entropy(logits, wanted, reduction="none")
    right = (logits.argmax(-1) == wanted).float().mean()
    return (each * weights).sum() / weights.sum().clamp_min(1e-6), float(right)


def train_joint(folder: str, modules: nn.ModuleDict, preset: Preset, tokenizer: Tokenizer,
                seed: int, first: int, seconds: float, workers: int, device: torch.device,
                log: Log, peers: Peers, rate_at, stage: str, new_heads: bool = False) -> int:
    model, heads = modules["model"], modules["aux"]
    gates = model.language.gates()
    language_only = stage != "joint"
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(part in name for part in FIXED[stage]))

    steps_of_heads = itertools.count(0 if new_heads else NEW_HEADS_STEPS)

    def loss_of(batch: Dict[str, torch.Tensor]):
        batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
        out = model(Inputs(batch["tiles"], batch["ids"], batch["source"], batch["positions"],
                           batch["segments"]))
        loss, right = answer_loss(model, out["hidden"], batch["targets"], batch["worth"])
        losses, shares = {"answers": float(loss.detach())}, {"tokens": right}
        if "embeddings" in out and not language_only:
            # What new heads do not know yet would teach the tower nonsense.
            seen = out["embeddings"]
            if next(steps_of_heads) < NEW_HEADS_STEPS:
                seen = seen.detach()
            cells, cells_right = heads.loss(seen, batch["labels"])
            losses["cells"] = float(cells.detach())
            shares.update(cells_right)
            loss = loss + CELLS_WORTH * cells
        return loss, losses, shares

    def after_step() -> str:
        peers.sum([gate.load for gate in gates])
        return "busiest expert %.1f" % max(gate.rebalance(BALANCE_RATE) for gate in gates)

    data = loader(lambda a, b: joint_batches(preset, tokenizer, seed, a, b, language_only),
                  first, workers, peers)
    return run_stage(folder, modules, data, loss_of, seconds, preset.joint_rate, device, log, peers,
                     rate_at, after_step, SEES + FINDS)
