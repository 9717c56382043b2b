"""Sizes of a model, and the config.json that says them in the published way."""
import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Dict

from ..pixels import CANDIDATES


@dataclass(frozen=True)
class Shape:
    """Keys as in the published files."""
    # vision tower
    width: int
    layers: int
    heads: int
    # language model
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int  # of the first, dense layer
    moe_intermediate_size: int
    n_routed_experts: int
    num_experts_per_tok: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    vocab_size: int
    n_shared_experts: int = 2
    routed_scaling_factor: float = 2.0
    mlp_ratio: float = 3.7362
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_position_embeddings: int = 4096

    @property
    def mlp_width(self) -> int:
        return int(self.width * self.mlp_ratio)


SHAPES = {
    # For two CPU cores.
    "cpu": Shape(width=128, layers=4, heads=4, hidden_size=128, num_hidden_layers=4,
                 num_attention_heads=6, intermediate_size=384, moe_intermediate_size=64,
                 n_routed_experts=8, num_experts_per_tok=3, kv_lora_rank=96, qk_nope_head_dim=32,
                 qk_rope_head_dim=16, v_head_dim=32, vocab_size=2048),
    # For a GPU: just under 12 million parameters, the 24 MB that the repository has room for.
    "gpu": Shape(width=256, layers=6, heads=8, hidden_size=256, num_hidden_layers=6,
                 num_attention_heads=8, intermediate_size=768, moe_intermediate_size=80,
                 n_routed_experts=8, num_experts_per_tok=3, kv_lora_rank=96, qk_nope_head_dim=32,
                 qk_rope_head_dim=16, v_head_dim=32, vocab_size=3072),
    # For tests.
    "tiny": Shape(width=32, layers=2, heads=2, hidden_size=32, num_hidden_layers=2,
                  num_attention_heads=2, intermediate_size=64, moe_intermediate_size=16,
                  n_routed_experts=4, num_experts_per_tok=2, kv_lora_rank=16, qk_nope_head_dim=16,
                  qk_rope_head_dim=8, v_head_dim=16, vocab_size=2048),
}


def config_json(shape: Shape) -> Dict[str, Any]:
    """config.json as the published Base model has it, with these sizes."""
    return {
        "candidate_resolutions": [list(pair) for pair in CANDIDATES],
        "global_view_pos": "head",
        "language_config": {
            "architectures": ["DeepseekV2ForCausalLM"],
            "bos_token_id": 0,
            "eos_token_id": 1,
            "first_k_dense_replace": 1,
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.intermediate_size,
            "kv_lora_rank": shape.kv_lora_rank,
            "lm_head": False,
            "max_position_embeddings": shape.max_position_embeddings,
            "model_type": "deepseek_v2",
            "moe_intermediate_size": shape.moe_intermediate_size,
            "n_group": 1,
            "n_routed_experts": shape.n_routed_experts,
            "n_shared_experts": shape.n_shared_experts,
            "norm_topk_prob": True,
            "num_attention_heads": shape.num_attention_heads,
            "num_experts_per_tok": shape.num_experts_per_tok,
            "num_hidden_layers": shape.num_hidden_layers,
            "q_lora_rank": None,
            "qk_nope_head_dim": shape.qk_nope_head_dim,
            "qk_rope_head_dim": shape.qk_rope_head_dim,
            "rm_head": False,
            "rms_norm_eps": shape.rms_norm_eps,
            "rope_theta": shape.rope_theta,
            "routed_scaling_factor": shape.routed_scaling_factor,
            "scoring_func": "sigmoid",
            "topk_group": 1,
            "topk_method": "noaux_tc",
            "torch_dtype": "bfloat16",
            "v_head_dim": shape.v_head_dim,
            "vocab_size": shape.vocab_size,
        },
        "model_type": "deepseek_vl_v2",
        "projector_config": {"input_dim": shape.width, "model_type": "mlp_projector",
                             "n_embed": shape.hidden_size},
        "tile_tag": "2D",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.38.2",
        "vision_config": {"heads": shape.heads, "layers": shape.layers,
                          "mlp_ratio": shape.mlp_ratio, "model_name": "siglip_so400m_patch14_384",
                          "model_type": "vision", "patch_size": 14, "width": shape.width},
    }


def shape_of_config(path: str) -> Shape:
    """The sizes that an exported config.json says."""
    with open(path) as file:
        config = json.load(file)
    values = dict(config["language_config"], **config["vision_config"])
    return Shape(**{f.name: values[f.name] for f in dataclasses.fields(Shape) if f.name in values})
