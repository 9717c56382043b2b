"""Writes tests/golden/variants: small checkpoints of the forms that no published one uses, and what the oracle
says of them. Usage: make_variants.py [FOLDER]. Seeded: the same files every time."""
import json
import os
import shutil
import sys

import numpy as np

import safetensors_file
from check_oracle import REPOSITORY, record_into
from language_config import with_defaults
from language_oracle import LanguageOracle

GOLDEN = os.path.join(REPOSITORY, "tests/golden/data")
CASE = "c1_text"
GREEDY_TOKENS = 24
VISION = {"layers": 1, "heads": 2, "width": 16}

_LATENT = {"kv_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 24,
           "num_attention_heads": 4}
VARIANTS = {
    # As DeepSeek-V2: queries compressed, groups by their best expert, YaRN with both amplitudes.
    "groups_by_best": {
        **_LATENT, "q_lora_rank": 40, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
        "n_routed_experts": 12, "num_experts_per_tok": 4, "routed_scaling_factor": 4.0,
        "scoring_func": "softmax", "norm_topk_prob": False, "n_shared_experts": 2, "first_k_dense_replace": 1,
        "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 24, "beta_fast": 32,
                         "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}},
    # As DeepSeek-V3: groups by their two best biased scores; YaRN with one amplitude; biases; sparse layers.
    "groups_by_two": {
        **_LATENT, "q_lora_rank": 32, "topk_method": "noaux_tc", "n_group": 3, "topk_group": 2,
        "n_routed_experts": 12, "num_experts_per_tok": 3, "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid", "norm_topk_prob": True, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "moe_layer_freq": 2, "attention_bias": True, "rms_norm_eps": 1e-5, "rope_theta": 5000.0,
        "rope_scaling": {"type": "yarn", "factor": 8, "original_max_position_embeddings": 48, "mscale": 1.3}},
    # Plain attention with shared key-value heads and biases, stretched linearly; no shared expert, no dense layer.
    "shared_heads": {
        "use_mla": False, "num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": True,
        "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0, "kv_lora_rank": None, "q_lora_rank": None,
        "topk_method": "greedy", "n_group": 1, "topk_group": 1, "n_routed_experts": 8, "num_experts_per_tok": 3,
        "scoring_func": "softmax", "norm_topk_prob": True, "routed_scaling_factor": 1.5,
        "n_shared_experts": None, "first_k_dense_replace": 0,
        "rope_scaling": {"type": "linear", "factor": 2.5}},
}
_COMMON = {"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 24, "num_hidden_layers": 3,
           "vocab_size": 544, "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1,
           "model_type": "deepseek_v2", "torch_dtype": "bfloat16"}


def language_shapes(c):
    """name -> shape, in the published names."""
    h, heads = c["hidden_size"], c["num_attention_heads"]
    shapes = {"embed_tokens.weight": (c["vocab_size"], h), "norm.weight": (h,)}

    def add(name, rows, cols, bias=False):
        shapes[name + ".weight"] = (rows, cols)
        if bias:
            shapes[name + ".bias"] = (rows,)

    def mlp(name, width):
        add(name + ".gate_proj", width, h)
        add(name + ".up_proj", width, h)
        add(name + ".down_proj", h, width)

    for i in range(c["num_hidden_layers"]):
        at, bias = f"layers.{i}.", c["attention_bias"]
        shapes[at + "input_layernorm.weight"] = shapes[at + "post_attention_layernorm.weight"] = (h,)
        if c["use_mla"]:
            nope, rope, v, rank = (c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
                                                  "kv_lora_rank"))
            if c["q_lora_rank"] is None:
                add(at + "self_attn.q_proj", heads * (nope + rope), h)
            else:
                add(at + "self_attn.q_a_proj", c["q_lora_rank"], h, bias)
                shapes[at + "self_attn.q_a_layernorm.weight"] = (c["q_lora_rank"],)
                add(at + "self_attn.q_b_proj", heads * (nope + rope), c["q_lora_rank"])
            add(at + "self_attn.kv_a_proj_with_mqa", rank + rope, h, bias)
            shapes[at + "self_attn.kv_a_layernorm.weight"] = (rank,)
            add(at + "self_attn.kv_b_proj", heads * (nope + v), rank)
            add(at + "self_attn.o_proj", h, heads * v, bias)
        else:
            dim = h // heads
            add(at + "self_attn.q_proj", heads * dim, h, bias)
            add(at + "self_attn.k_proj", c["num_key_value_heads"] * dim, h, bias)
            add(at + "self_attn.v_proj", c["num_key_value_heads"] * dim, h, bias)
            add(at + "self_attn.o_proj", h, heads * dim, bias)
        if i >= c["first_k_dense_replace"] and i % c["moe_layer_freq"] == 0:
            for expert in range(c["n_routed_experts"]):
                mlp(f"{at}mlp.experts.{expert}", c["moe_intermediate_size"])
            shapes[at + "mlp.gate.weight"] = (c["n_routed_experts"], h)
            if c["topk_method"] == "noaux_tc":
                shapes[at + "mlp.gate.e_score_correction_bias"] = (c["n_routed_experts"],)
            if c["n_shared_experts"]:
                mlp(at + "mlp.shared_experts", c["n_shared_experts"] * c["moe_intermediate_size"])
        else:
            mlp(at + "mlp", c["intermediate_size"])
    named = {"language.model." + name: shape for name, shape in shapes.items()}
    named["language.lm_head.weight"] = (c["vocab_size"], h)
    return named


def vision_shapes(width, layers, hidden):
    mlp = int(width * 3.7362)
    shapes = {"image_newline": (hidden,), "view_seperator": (hidden,),
              "vision.pos_embed": (1, 729, width), "vision.norm.weight": (width,), "vision.norm.bias": (width,),
              "vision.patch_embed.proj.weight": (width, 3, 14, 14), "vision.patch_embed.proj.bias": (width,),
              "projector.layers.0.weight": (hidden, 4 * width), "projector.layers.0.bias": (hidden,),
              "projector.layers.2.weight": (hidden, hidden), "projector.layers.2.bias": (hidden,)}
    for i in range(layers):
        block = f"vision.blocks.{i}."
        for name, rows, cols in (("attn.qkv", 3 * width, width), ("attn.proj", width, width),
                                 ("mlp.fc1", mlp, width), ("mlp.fc2", width, mlp)):
            shapes[f"{block}{name}.weight"], shapes[f"{block}{name}.bias"] = (rows, cols), (rows,)
        for name in ("norm1", "norm2"):
            shapes[f"{block}{name}.weight"] = shapes[f"{block}{name}.bias"] = (width,)
    return shapes


def draw(name, shape, rng):
    if "norm" in name and name.endswith(".weight"):
        values = 1 + 0.2 * rng.standard_normal(shape)
    elif name.endswith((".bias", "_bias")):
        values = 0.1 * rng.standard_normal(shape)
    elif "embed_tokens" in name:
        values = 0.8 * rng.standard_normal(shape)
    else:
        gain = 2.0 if name.endswith("gate.weight") or "lm_head" in name else 1.0
        values = gain * rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:], initial=1))
    return safetensors_file.round_to_bf16(values)


def write_variant(out, name, language, seed):
    with open(os.path.join(GOLDEN, "checkpoints", "base_noaux", "config.json")) as file:
        config = json.load(file)
    config["language_config"] = {**_COMMON, **language}
    config["projector_config"].update(input_dim=VISION["width"], n_embed=_COMMON["hidden_size"])
    config["vision_config"].update(VISION)
    full = with_defaults(config["language_config"])

    rng = np.random.default_rng(seed)
    shapes = {**vision_shapes(VISION["width"], VISION["layers"], _COMMON["hidden_size"]), **language_shapes(full)}
    weights = {tensor: draw(tensor, shape, rng) for tensor, shape in shapes.items()}
    folder = os.path.join(out, "checkpoints", name)
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    for part in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(GOLDEN, "checkpoints", "base_noaux", part), folder)
    safetensors_file.write(os.path.join(folder, "model.safetensors"),
                           {tensor: ("BF16", value) for tensor, value in weights.items()}, {"format": "pt"})

    prompt = safetensors_file.read(os.path.join(GOLDEN, "outputs", "base_noaux", CASE + ".safetensors"))
    oracle = LanguageOracle(full, weights)
    found = {}
    logits = oracle.forward(prompt["input_ids"], record_into(found, prompt["positions"]))
    chosen, best_ids, best_logits = oracle.greedy(prompt["input_ids"], GREEDY_TOKENS)
    last = _COMMON["num_hidden_layers"] - 1
    tensors = {key: ({"int64": "I64", "uint8": "BOOL"}[str(prompt[key].dtype)], prompt[key])
               for key in ("input_ids", "images_seq_mask", "images_spatial_crop", "positions")}
    for key, value in found.items():
        if key == "inputs_embeds" or key.startswith("cache.") and f"layer{last}" not in key and "layer0" not in key:
            continue
        tensors[key] = ("I64" if key.endswith("expert_ids") else "F32", value)
    tensors["logits"] = ("F32", logits[prompt["positions"]])
    tensors["greedy.ids"] = ("I64", chosen)
    tensors["greedy.top5_ids"], tensors["greedy.top5_logits"] = ("I64", best_ids), ("F32", best_logits)
    os.makedirs(os.path.join(out, "outputs", name))
    at = os.path.join(out, "outputs", name, CASE)
    safetensors_file.write(at + ".safetensors", tensors, {"config": name, "case": CASE})
    gap = float((best_logits[:, 0] - best_logits[:, 1]).min())
    with open(at + ".json", "w") as file:
        json.dump({"case": CASE, "config": name, "greedy_min_top1_top2_gap": gap, "weight_seed": seed}, file, indent=1)
    print(f"{name}: logits of spread {logits.std():.2f}, closest greedy choice {gap:.4f}, tokens {chosen[:8]}")


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(REPOSITORY, "tests/golden/variants")
    for part in ("checkpoints", "outputs", "cases"):
        shutil.rmtree(os.path.join(out, part), ignore_errors=True)
    os.makedirs(os.path.join(out, "cases"))
    shutil.copy(os.path.join(GOLDEN, "cases", CASE + ".json"), os.path.join(out, "cases"))
    for seed, (name, language) in enumerate(VARIANTS.items(), 31):
        write_variant(out, name, language, seed)


if __name__ == "__main__":
    main()
