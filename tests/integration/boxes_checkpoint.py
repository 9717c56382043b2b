"""A checkpoint that can be made to answer with boxes.

The golden checkpoints have random weights and never do. In this copy of one, the tokenizer spells a
list of boxes with one token that means nothing otherwise; a logit bias for each token of the answer,
in falling order, and a repetition penalty that sinks those already said then make it say

    <|ref|>the cat<|/ref|><|det|>[[100, 200, 500, 700], [0, 0, 999, 999]]<|/det|>

Everything from the sampler to the client runs as ever.
"""
import json
import os
import shutil

BOXES = [[100, 200, 500, 700], [0, 0, 999, 999]]
LABEL = "the cat"


def make(source, folder):
    """Copies the checkpoint; the logit bias by token id."""
    for name in os.listdir(source):
        shutil.copy(os.path.join(source, name), folder)
    with open(os.path.join(folder, "tokenizer.json")) as file:
        added = json.load(file)["added_tokens"]
    free = [token for token in added if "holder" in token["content"]]
    for token, spelling in zip(free, [LABEL, json.dumps(BOXES)]):
        respell(folder, token["content"], spelling)
    named = {token["content"]: token["id"] for token in added}
    end = next(token["id"] for token in added if "end" in token["content"])
    order = [named["<|ref|>"], free[0]["id"], named["<|/ref|>"], named["<|det|>"], free[1]["id"],
             named["<|/det|>"], end]
    return {str(token): 100 - 12 * rank for rank, token in enumerate(order)}


def respell(folder, old, new):
    """A special token becomes an ordinary one that reads `new`."""
    path = os.path.join(folder, "tokenizer.json")
    with open(path) as file:
        tokenizer = json.load(file)
    for token in tokenizer["added_tokens"]:
        if token["content"] == old:
            token.update(content=new, special=False)
    with open(path, "w") as file:
        json.dump(tokenizer, file)
    path = os.path.join(folder, "tokenizer_config.json")
    with open(path) as file:
        config = json.load(file)
    for token in config.get("added_tokens_decoder", {}).values():
        if token["content"] == old:
            token.update(content=new, special=False)
    with open(path, "w") as file:
        json.dump(config, file)


# With these, and the bias, an answer is the boxes.
SAMPLING = {"temperature": 0, "top_k": 0, "top_p": 1, "repetition_penalty": 10}
