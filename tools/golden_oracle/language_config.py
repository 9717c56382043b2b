"""language_config with the published defaults for what it leaves out."""
_DEFAULTS = {
    "use_mla": True, "num_hidden_layers": 30, "num_attention_heads": 32, "n_shared_experts": None,
    "n_routed_experts": None, "routed_scaling_factor": 1.0, "kv_lora_rank": 512, "q_lora_rank": 1536,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "topk_method": "gready",
    "n_group": None, "topk_group": None, "num_experts_per_tok": None, "moe_layer_freq": 1,
    "first_k_dense_replace": 0, "norm_topk_prob": False, "scoring_func": "softmax",
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False,
}


def with_defaults(config):
    full = {**_DEFAULTS, **config}
    full.setdefault("num_key_value_heads", full["num_attention_heads"])
    if full["topk_method"] == "gready":  # the default's own spelling
        full["topk_method"] = "greedy"
    return full
