"""Processes that train one model together on a CPU: small operations gain little from threads, so
each core computes a batch of its own and gradients are averaged."""
import os
import subprocess
import sys
from typing import List

import torch
import torch.distributed
from torch import nn


class Peers:
    """One process, or several over gloo on this machine."""

    def __init__(self, rank: int = 0, count: int = 1, port: int = 0):
        self.rank, self.count = rank, count
        self.children: List[subprocess.Popen] = []
        if count > 1:
            torch.distributed.init_process_group(
                "gloo", init_method="tcp://127.0.0.1:%d" % port, rank=rank, world_size=count)

    def share(self, modules: nn.ModuleDict) -> None:
        """All begin with rank 0's values."""
        if self.count > 1:
            for tensor in modules.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    def sum(self, tensors: List[torch.Tensor]) -> None:
        """Each becomes its sum over the processes."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def average(self, modules: nn.ModuleDict, done: bool) -> bool:
        """Gradients become their mean over the processes. True once any process is done."""
        if self.count == 1:
            return done
        grads = [p.grad for p in modules.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads] + [torch.tensor([float(done)])])
        torch.distributed.all_reduce(flat)
        begin = 0
        for grad in grads:
            grad.copy_(flat[begin:begin + grad.numel()].view_as(grad) / self.count)
            begin += grad.numel()
        return bool(flat[-1] > 0)


def start_peers(count: int) -> Peers:
    """Starts the other processes with this one's own command line."""
    rank = int(os.environ.get("VL2_TRAIN_RANK", "0"))
    port = int(os.environ.get("VL2_TRAIN_PORT", "0")) or 20000 + os.getpid() % 20000
    children = []
    if rank == 0:
        for other in range(1, count):
            children.append(subprocess.Popen(
                [sys.executable] + sys.argv,
                env=dict(os.environ, VL2_TRAIN_RANK=str(other), VL2_TRAIN_PORT=str(port))))
    peers = Peers(rank, count, port)
    peers.children = children
    return peers
