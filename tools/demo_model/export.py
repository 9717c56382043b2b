"""Writes a trained model in the published layout."""
import json
import os
from typing import Dict

import numpy as np
import torch

from . import safetensors_file
from .modeling.shape import config_json
from .modeling.vl2 import Vl2
from .pixels import CANDIDATES
from .tokenizer import Tokenizer

SHARD_BYTES = 15_000_000


def published_tensors(model: Vl2) -> Dict[str, np.ndarray]:
    """bf16 tensors by published name. Stacked experts are cut apart; the pooling head that the
    published files carry and nobody reads is left out."""
    out: Dict[str, np.ndarray] = {}
    for name, value in model.state_dict().items():
        values = value.detach().float().cpu().numpy()
        prefix, _, last = name.rpartition(".")
        if last in ("expert_gate", "expert_up", "expert_down"):
            experts = model.shape.n_routed_experts
            parts = values.reshape(experts, -1, values.shape[-1])
            for e in range(experts):
                key = "%s.experts.%d.%s_proj.weight" % (prefix, e, last.split("_")[1])
                out[key] = safetensors_file.to_bf16(parts[e])
        else:
            out[name] = safetensors_file.to_bf16(values)
    return out


def load_published(model: Vl2, folder: str) -> None:
    """The bf16 weights of an exported folder back into a model, to compare it with the product."""
    with open(os.path.join(folder, "model.safetensors.index.json")) as file:
        names = sorted(set(json.load(file)["weight_map"].values()))
    found: Dict[str, np.ndarray] = {}
    for name in names:
        found.update(safetensors_file.read(os.path.join(folder, name)))
    for name, value in model.state_dict().items():
        prefix, _, last = name.rpartition(".")
        if last in ("expert_gate", "expert_up", "expert_down"):
            parts = [found["%s.experts.%d.%s_proj.weight" % (prefix, e, last.split("_")[1])]
                     for e in range(model.shape.n_routed_experts)]
            value.copy_(torch.from_numpy(np.concatenate(parts).reshape(value.shape)))
        else:
            value.copy_(torch.from_numpy(found[name].reshape(tuple(value.shape))))


def processor_config() -> Dict[str, object]:
    return {
        "add_special_token": False, "candidate_resolutions": [list(pair) for pair in CANDIDATES],
        "downsample_ratio": 2, "ignore_id": -100, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "image_token": "<image>", "mask_prompt": False, "normalize": True,
        "pad_token": "<｜▁pad▁｜>", "patch_size": 14, "processor_class": "DeepseekVLV2Processor",
        "sft_format": "deepseek"}


def _write_json(path: str, value: object) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1, sort_keys=True)
        file.write("\n")


def export(model: Vl2, tokenizer: Tokenizer, folder: str) -> int:
    """Writes the folder; bytes of weights."""
    os.makedirs(folder, exist_ok=True)
    _write_json(os.path.join(folder, "config.json"), config_json(model.shape))
    _write_json(os.path.join(folder, "processor_config.json"), processor_config())
    for name, value in tokenizer.files().items():
        _write_json(os.path.join(folder, name), value)
    parts = safetensors_file.shards(published_tensors(model), SHARD_BYTES)
    weight_map = {}
    for i, part in enumerate(parts):
        name = "model-%05d-of-%06d.safetensors" % (i + 1, len(parts))
        safetensors_file.write(os.path.join(folder, name), part)
        weight_map.update({key: name for key in part})
    total = sum(v.nbytes for part in parts for v in part.values())
    _write_json(os.path.join(folder, "model.safetensors.index.json"),
                {"metadata": {"total_size": total}, "weight_map": weight_map})
    return total
