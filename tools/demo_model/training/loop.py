"""The training loop of all stages."""
import math
import os
import time
from collections import defaultdict, deque
from typing import Callable, Deque, Dict, Iterator, List, Tuple

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from . import state
from .muon import Muon
from .pair import Peers
from .curves import Series, draw_curves


# Tables and layers whose rows stand for things of their own: no matrices in the sense of Muon.
LOOKED_UP = ("embed_tokens", "lm_head", "gate.weight", "aux.", "pos_embed", "image_newline",
             "view_seperator")


class Batches(IterableDataset):
    """Batch numbers dealt to the workers in turn: what is trained on does not depend on how many
    there are."""

    def __init__(self, make: Callable[[int, int], Iterator[Dict]], first: int, peers: Peers):
        self.make, self.first, self.peers = make, first + peers.rank, peers

    def __iter__(self) -> Iterator[Dict]:
        info = get_worker_info()
        if info is None:
            return self.make(self.first, self.peers.count)
        torch.set_num_threads(1)
        return self.make(self.first + info.id * self.peers.count,
                         info.num_workers * self.peers.count)


def loader(make: Callable[[int, int], Iterator[Dict]], first: int, workers: int,
           peers: Peers) -> DataLoader:
    ahead = {"prefetch_factor": 4} if workers else {}
    return DataLoader(Batches(make, first, peers), batch_size=None, num_workers=workers,
                      pin_memory=torch.cuda.is_available(), **ahead)


class Log:
    """Running means on the screen, curves in a picture."""

    def __init__(self, folder: str, offset_minutes: float, name: str):
        self.path = os.path.join(folder, "curves-%s.png" % name)
        self.offset = offset_minutes
        self.recent: Dict[str, Deque[float]] = defaultdict(lambda: deque(maxlen=60))
        self.losses: Series = defaultdict(list)
        self.shares: Series = defaultdict(list)

    def add(self, losses: Dict[str, float], shares: Dict[str, float]) -> None:
        for name, value in list(losses.items()) + list(shares.items()):
            if math.isfinite(value):
                self.recent[name].append(value)

    def mean(self, name: str) -> float:
        values = self.recent[name]
        return sum(values) / max(1, len(values))

    def show(self, step: int, minutes: float, rate: float, losses, shares, note: str) -> None:
        for names, series in ((losses, self.losses), (shares, self.shares)):
            for name in names:
                series[name].append((self.offset + minutes, self.mean(name)))
        text = " ".join("%s %.3f" % (n, self.mean(n)) for n in list(losses) + list(shares))
        print("%6d %6.2f min lr %.1e %s %s" % (step, minutes, rate, text, note), flush=True)
        draw_curves(self.path, self.losses, self.shares)


def make_optimizers(modules: nn.ModuleDict, rate: float,
                    slow: Tuple[str, ...]) -> List[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for the rest. What has one of `slow` in its name learns at
    0.3 times the rate."""
    groups: Dict[Tuple[bool, int, float], List[nn.Parameter]] = defaultdict(list)
    for name, parameter in modules.named_parameters():
        pace = 0.3 if any(part in name for part in slow) else 1.0
        inner = parameter.dim() >= 2 and not any(part in name for part in LOOKED_UP)
        parts = 3 if ".qkv." in name else 1
        if name.endswith(("expert_gate", "expert_up")):
            parts = modules["model"].shape.n_routed_experts
        groups[inner, parts, pace].append(parameter)
    return [Muon([{"params": chosen, "parts": parts, "share": pace, "weight_decay": 0.02}
                  for (inner, parts, pace), chosen in groups.items() if inner], rate),
            torch.optim.AdamW([{"params": chosen, "share": pace, "weight_decay": 0.0}
                               for (inner, _, pace), chosen in groups.items() if not inner],
                              lr=rate, betas=(0.9, 0.98), eps=1e-8)]


def run_stage(folder: str, modules: nn.ModuleDict, data: DataLoader, loss_of: Callable,
              seconds: float, rate: float, device: torch.device, log: Log, peers: Peers,
              rate_at: Callable[[float], float], after_step: Callable[[], str] = lambda: "",
              slow: Tuple[str, ...] = ()) -> int:
    """Trains for `seconds`; the rate is `rate` times rate_at(share of this stage's time), warmed
    up anew since the optimizer starts without memory. Saves every two minutes and at the end."""
    optimizers = make_optimizers(modules, rate, slow)
    modules.train()
    begin = last_save = last_show = time.monotonic()
    step = 0
    for batch in data:
        elapsed = time.monotonic() - begin
        now = rate * min(1.0, (step + 1) / 60) * rate_at(min(1.0, elapsed / seconds))
        for group in (g for optimizer in optimizers for g in optimizer.param_groups):
            group["lr"] = now * group["share"]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss, losses, shares = loss_of(batch)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        done = peers.average(modules, elapsed > seconds)
        norm = float(nn.utils.clip_grad_norm_(modules.parameters(), 1.0))
        if math.isfinite(norm):
            for optimizer in optimizers:
                optimizer.step()
        note = after_step()
        log.add(losses, shares)
        step += 1
        if done:
            break
        if peers.rank > 0:
            continue
        clock = time.monotonic()
        if clock - last_show > 15 or step == 1:
            log.show(step, (clock - begin) / 60, now, losses, shares, note)
            last_show = clock
        if clock - last_save > 120:
            state.save(folder, modules)
            last_save = clock
    if peers.rank == 0:
        state.save(folder, modules)
    return step * peers.count
