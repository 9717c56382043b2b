"""The language model once more, in float64 NumPy, written from docs and the published code's formulas alone.

It shares nothing with the C++ sources, has no cache, no batches and no tricks: a prompt is computed whole for
every generated token. What it says is what tests/golden/variants holds for the forms that no published
checkpoint uses (query compression, groups of experts, YaRN, grouped key-value heads).
"""
import math

import numpy as np


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def yarn_mscale(factor, mscale):
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def rotary_tables(dim, num_positions, theta, scaling):
    """cos and sin, [num_positions, dim / 2]."""
    inverse = theta ** (-np.arange(0, dim, 2) / dim)
    positions = np.arange(num_positions, dtype=np.float64)
    amplitude = 1.0
    kind = scaling["type"] if scaling else None
    if kind == "linear":
        positions = positions / scaling["factor"]
    elif kind == "yarn":
        factor = scaling["factor"]
        original = scaling.get("original_max_position_embeddings", 4096)

        def dimension(rotations):
            return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low = max(math.floor(dimension(scaling.get("beta_fast", 32))), 0)
        high = min(math.ceil(dimension(scaling.get("beta_slow", 1))), dim - 1)
        ramp = np.clip((np.arange(dim // 2) - low) / (high - low if high != low else 0.001), 0, 1)
        # ramp 0: many rotations within the original length, kept; 1: few, stretched.
        inverse = inverse * (1 - ramp) + inverse / factor * ramp
        amplitude = (yarn_mscale(factor, scaling.get("mscale", 1)) /
                     yarn_mscale(factor, scaling.get("mscale_all_dim", 0)))
    angles = np.outer(positions, inverse)
    return np.cos(angles) * amplitude, np.sin(angles) * amplitude


def rotate_halves(x, cos, sin):
    """x: [tokens, heads, dim], its first half against its second."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    cos, sin = cos[:, None, :], sin[:, None, :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class LanguageOracle:
    def __init__(self, config, weights):
        """config: language_config with every default filled in; weights: name -> array."""
        self.c = config
        self.w = {name.removeprefix("language."): value.astype(np.float64)
                  for name, value in weights.items() if name.startswith("language.")}

    def linear(self, x, name):
        y = x @ self.w[name + ".weight"].T
        bias = self.w.get(name + ".bias")
        return y if bias is None else y + bias

    def attend(self, q, k, v, scale):
        """[tokens, heads, dim] each; key heads are repeated by the caller."""
        scores = np.einsum("qhd,khd->hqk", q, k) * scale
        tokens = q.shape[0]
        scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, -np.inf)
        return np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(tokens, -1)

    def multi_head(self, layer, x, record):
        c = self.c
        heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        dim = c["hidden_size"] // heads
        tokens = x.shape[0]
        q = self.linear(x, layer + ".q_proj").reshape(tokens, heads, dim)
        k = self.linear(x, layer + ".k_proj").reshape(tokens, kv_heads, dim)
        v = self.linear(x, layer + ".v_proj").reshape(tokens, kv_heads, dim)
        cos, sin = rotary_tables(dim, tokens, c["rope_theta"], c["rope_scaling"])
        q, k = rotate_halves(q, cos, sin), rotate_halves(k, cos, sin)
        record("key", k)
        record("value", v)
        group = heads // kv_heads
        out = self.attend(q, np.repeat(k, group, 1), np.repeat(v, group, 1), dim ** -0.5)
        return self.linear(out, layer + ".o_proj")

    def latent(self, layer, x, record):
        c = self.c
        heads, rank = c["num_attention_heads"], c["kv_lora_rank"]
        nope, rope, v_dim = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
        tokens = x.shape[0]
        if c["q_lora_rank"] is None:
            q = self.linear(x, layer + ".q_proj")
        else:
            q = rms_norm(self.linear(x, layer + ".q_a_proj"), self.w[layer + ".q_a_layernorm.weight"], 1e-6)
            q = self.linear(q, layer + ".q_b_proj")
        q = q.reshape(tokens, heads, nope + rope)
        joined = self.linear(x, layer + ".kv_a_proj_with_mqa")
        latent = rms_norm(joined[:, :rank], self.w[layer + ".kv_a_layernorm.weight"], 1e-6)
        k_pe = joined[:, None, rank:]
        expanded = self.linear(latent, layer + ".kv_b_proj").reshape(tokens, heads, nope + v_dim)

        cos, sin = rotary_tables(rope, tokens, c["rope_theta"], c["rope_scaling"])

        def rotate_pairs(y):  # even members first, then the odd ones
            return rotate_halves(np.concatenate([y[..., 0::2], y[..., 1::2]], -1), cos, sin)

        q_pe, k_pe = rotate_pairs(q[..., nope:]), rotate_pairs(k_pe)
        record("kv_latent", latent)
        record("k_pe", k_pe[:, 0])
        query = np.concatenate([q[..., :nope], q_pe], -1)
        key = np.concatenate([expanded[..., :nope], np.repeat(k_pe, heads, 1)], -1)
        scale = (nope + rope) ** -0.5
        scaling = c["rope_scaling"]
        if scaling and scaling.get("mscale_all_dim", 0):
            scale *= yarn_mscale(scaling["factor"], scaling["mscale_all_dim"]) ** 2
        return self.linear(self.attend(query, key, expanded[..., nope:], scale), layer + ".o_proj")

    def route(self, layer, x):
        """[tokens, k]: expert ids in ascending order and their weights."""
        c = self.c
        k, experts, groups = c["num_experts_per_tok"], c["n_routed_experts"], c["n_group"]
        logits = x @ self.w[layer + ".gate.weight"].T
        scores = softmax(logits) if c["scoring_func"] == "softmax" else 1 / (1 + np.exp(-logits))
        choice = scores.copy()
        method = c["topk_method"]
        if method == "noaux_tc":
            choice = choice + self.w[layer + ".gate.e_score_correction_bias"]
        if method != "greedy":
            grouped = np.sort(choice.reshape(-1, groups, experts // groups), -1)
            worth = grouped[..., -1] if method == "group_limited_greedy" else grouped[..., -2:].sum(-1)
            best = np.argsort(-worth, -1, kind="stable")[:, :c["topk_group"]]
            kept = np.zeros(worth.shape, bool)
            np.put_along_axis(kept, best, True, -1)
            choice = np.where(np.repeat(kept, experts // groups, -1), choice, 0.0)
        ids = np.sort(np.argsort(-choice, -1, kind="stable")[:, :k], -1)
        weights = np.take_along_axis(choice if method == "group_limited_greedy" else scores, ids, -1)
        if k > 1 and c["norm_topk_prob"]:
            weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
        return ids, weights * c["routed_scaling_factor"]

    def mlp(self, x, name):
        return self.linear(silu(self.linear(x, name + ".gate_proj")) * self.linear(x, name + ".up_proj"),
                           name + ".down_proj")

    def experts(self, layer, x, record):
        ids, weights = self.route(layer, x)
        record("expert_ids", ids)
        record("weights", weights)
        out = np.zeros_like(x)
        for token in range(x.shape[0]):
            for expert, weight in zip(ids[token], weights[token]):
                out[token] += weight * self.mlp(x[token:token + 1], f"{layer}.experts.{expert}")[0]
        if self.c["n_shared_experts"]:
            out += self.mlp(x, layer + ".shared_experts")
        return out

    def forward(self, ids, record=lambda name, value: None):
        """Logits [tokens, vocab]; record(name, array over tokens) hears what golden files list."""
        c = self.c
        x = self.w["model.embed_tokens.weight"][ids]
        record("inputs_embeds", x)
        for i in range(c["num_hidden_layers"]):
            layer = f"model.layers.{i}"
            normed = rms_norm(x, self.w[layer + ".input_layernorm.weight"], c["rms_norm_eps"])
            attention = self.latent if c["use_mla"] else self.multi_head
            x = x + attention(layer + ".self_attn", normed, lambda n, v: record(f"cache.layer{i}.{n}", v))
            normed = rms_norm(x, self.w[layer + ".post_attention_layernorm.weight"], c["rms_norm_eps"])
            if (c["n_routed_experts"] is not None and i >= c["first_k_dense_replace"] and
                    i % c["moe_layer_freq"] == 0):
                x = x + self.experts(layer + ".mlp", normed, lambda n, v: record(f"router.layer{i}.{n}", v))
            else:
                x = x + self.mlp(normed, layer + ".mlp")
            record(f"hidden.layer{i}", x)
        x = rms_norm(x, self.w["model.norm.weight"], c["rms_norm_eps"])
        record("hidden.final_norm", x)
        return x @ self.w["lm_head.weight"].T

    def greedy(self, ids, count):
        """(ids, their five best ids, those five's logits) of `count` steps."""
        ids = list(ids)
        chosen, best_ids, best_logits = [], [], []
        for _ in range(count):
            logits = self.forward(np.array(ids))[-1]
            order = np.argsort(-logits, kind="stable")[:5]
            chosen.append(order[0])
            best_ids.append(order)
            best_logits.append(logits[order])
            ids.append(int(order[0]))
        return np.array(chosen), np.array(best_ids), np.array(best_logits)
