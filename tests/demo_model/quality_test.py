#!/usr/bin/env python3
"""The shipped demo model, asked through the gateway, still answers as well as when it was shipped.

   quality_test.py BIN [--weights=auto|int8|int4] [MODEL]

data/questions.json holds pictures, questions, right answers, and how many have to be right: what
the model reached when it was trained, less what rounding may turn. Exit status 77 (skipped) where
there is no model. Needs Python's standard library only.
"""
import json
import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "integration"))
sys.path.insert(0, os.path.join(os.path.dirname(TESTS), "tools"))
import cluster  # noqa: E402
from demo_model.evaluation.metrics import is_right  # noqa: E402

DATA = os.path.join(TESTS, "demo_model", "data")


def ask(services, picture, question):
    content = [cluster.picture_part(os.path.join(DATA, picture)), {"type": "text", "text": question}]
    status, reply = services.chat({"temperature": 0, "repetition_penalty": 1.0, "max_tokens": 120,
                                   "messages": [{"role": "user", "content": content}]})
    assert status == 200, "HTTP %d: %s" % (status, reply)
    return reply["choices"][0]["message"]["content"] or ""


def main():
    weights = [each for each in sys.argv[2:] if each.startswith("--weights=")]
    models = [each for each in sys.argv[2:] if each not in weights]
    model = models[0] if models else os.path.join(os.path.dirname(TESTS), "models", "demo")
    path = os.path.join(DATA, "questions.json")
    if not os.path.exists(os.path.join(model, "config.json")) or not os.path.exists(path):
        print("skipped: no demo model at " + model)
        return 77
    with open(path) as file:
        data = json.load(file)
    services = cluster.Cluster(sys.argv[1], model=model, lm_flags=weights, vision_flags=weights)
    right = 0
    try:
        for entry in data["questions"]:
            answer = ask(services, entry["picture"], entry["question"])
            ok = is_right("", answer, entry["answer"])
            right += ok
            print("%s %s | %s | %r, right is %r" % (
                "ok " if ok else "BAD", entry["picture"], entry["question"], answer,
                entry["answer"]), flush=True)
    finally:
        services.stop()
    print("%d of %d right, at least %d have to be" % (right, len(data["questions"]),
                                                      data["least_right"]))
    return 0 if right >= data["least_right"] else 1


if __name__ == "__main__":
    sys.exit(main())
