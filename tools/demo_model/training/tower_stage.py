"""First stage: tower and projector learn what lies where."""
import torch
from torch import nn

from .loop import Log, loader, run_stage
from .pair import Peers
from .presets import Preset
from .tower_batches import tower_batches


def train_tower(folder: str, modules: nn.ModuleDict, preset: Preset, seed: int, first: int,
                seconds: float, workers: int, device: torch.device, log: Log, peers: Peers,
                rate_at) -> int:
    model, heads = modules["model"], modules["aux"]

    def loss_of(batch):
        tiles = batch["tiles"].to(device, non_blocking=True)
        labels = batch["labels"].to(device, non_blocking=True)
        loss, right = heads.loss(model.encode(tiles), labels)
        return loss, {"cells": float(loss.detach())}, right

    data = loader(lambda a, b: tower_batches(preset, seed, a, b), first, workers, peers)
    return run_stage(folder, modules, data, loss_of, seconds, preset.tower_rate, device, log,
                     peers, rate_at)
