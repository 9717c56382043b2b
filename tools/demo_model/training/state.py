"""Training state on disk: float32 weights and auxiliary heads, in files of at most 15 MB."""
import glob
import os

import torch
from torch import nn

from .. import safetensors_file

LIMIT = 15_000_000


def save(folder: str, modules: nn.ModuleDict) -> None:
    os.makedirs(folder, exist_ok=True)
    tensors = {k: v.detach().float().cpu().numpy() for k, v in modules.state_dict().items()}
    parts = safetensors_file.shards(tensors, LIMIT)
    for i, part in enumerate(parts):
        safetensors_file.write(os.path.join(folder, "state-%02d.safetensors" % i), part)
    for path in sorted(glob.glob(os.path.join(folder, "state-*.safetensors")))[len(parts):]:
        os.remove(path)


def load(folder: str, modules: nn.ModuleDict) -> None:
    """Weights that fit; new ones (a head added since) keep their start and are named."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "state-*.safetensors"))):
        found.update(safetensors_file.read(path))
    if not found:
        raise RuntimeError("no state-*.safetensors in " + folder)
    own = modules.state_dict()
    fresh = []
    for name, value in own.items():
        if name in found and tuple(found[name].shape) == tuple(value.shape):
            value.copy_(torch.from_numpy(found[name]))
        else:
            fresh.append(name)
    print("state from %s%s" % (folder, "; new: " + ", ".join(fresh) if fresh else ""))
