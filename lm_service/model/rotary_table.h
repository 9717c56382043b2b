// Builds the table of rotation angles of a language model.
//
// Source: LlamaRotaryEmbedding (transformers 4.38), DeepseekV2RotaryEmbedding and its linear,
// dynamic and YaRN forms (modeling_deepseek.py). Frequencies and angles are float32 as there. The
// dynamic form differs from the plain one only beyond max_position_embeddings, which is never
// reached.
#pragma once

#include "runtime/checkpoint/config.h"
#include "runtime/ops/ops.h"

namespace vl2 {

// Positions 0 .. max_position_embeddings - 1, on the device of `ops`.
RotaryTable MakeRotaryTable(const LanguageConfig& config, Ops& ops);

// Scale of the attention scores: head size^-0.5, times mscale² where rope_scaling sets
// mscale_all_dim (latent attention only).
float SoftmaxScale(const LanguageConfig& config);

}  // namespace vl2
