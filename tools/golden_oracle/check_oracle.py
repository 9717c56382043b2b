"""Holds the oracle against values of the published code: text cases of a golden folder.

Usage: check_oracle.py [GOLDEN_FOLDER]. Prints the largest errors; exits with 1 when one is above the golden
data's tolerance, so that what make_variants.py writes rests on something."""
import json
import os
import sys

import numpy as np

import safetensors_file
from language_config import with_defaults
from language_oracle import LanguageOracle

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    weights = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            weights.update(safetensors_file.read(os.path.join(folder, name)))
    return LanguageOracle(with_defaults(config["language_config"]), weights)


def record_into(found, rows):
    def record(name, value):
        found[name] = value[rows]
    return record


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(REPOSITORY, "tests/golden/data")
    bad = 0
    for model in sorted(os.listdir(os.path.join(folder, "outputs"))):
        oracle = load(os.path.join(folder, "checkpoints", model))
        golden = safetensors_file.read(os.path.join(folder, "outputs", model, "c1_text.safetensors"))
        found = {}
        logits = oracle.forward(golden["input_ids"], record_into(found, golden["positions"]))
        found["logits"] = logits[golden["positions"]]
        found["greedy.ids"], found["greedy.top5_ids"], found["greedy.top5_logits"] = oracle.greedy(
            golden["input_ids"], len(golden["greedy.ids"]))
        for name, expected in golden.items():
            if name not in found or name == "inputs_embeds":
                continue
            error = np.abs(expected - found[name]).max()
            limit = 0 if expected.dtype == np.int64 else 5e-4 if name.endswith(("k_pe", "key")) else 1e-4
            bad += error > limit
            print(f"{model:12} {name:28} {error:9.2e} of {limit}{'  MISSED' if error > limit else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
