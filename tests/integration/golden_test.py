"""Golden values over the wire: every checkpoint x case, through all three services.

Greedy tokens must be the reference's, and the five best of every step with them: their
log-probabilities against each other, and against all words where the reference kept all logits.
Over HTTP (streamed) and, where python3-grpcio is there, over gRPC with the published image policy.

Usage: golden_test.py BIN_FOLDER [--golden=FOLDER] [unittest flags]. FOLDER is laid out as
tests/golden/data; its outputs/ are used as well as its greedy/.
"""
import json
import math
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster, picture_part, text_of  # noqa: E402
import grpc_protos  # noqa: E402
from golden_files import read_tensors  # noqa: E402

BIN = sys.argv.pop(1)
ROOT = DATA
if len(sys.argv) > 1 and sys.argv[1].startswith("--golden="):
    ROOT = sys.argv.pop(1)[len("--golden="):]
for name in ("lm_service", "vision_service", "gateway"):
    if not os.path.exists(os.path.join(BIN, name)):
        print("SKIPPED: %s is not built" % name)
        sys.exit(77)
if grpc_protos.MISSING:
    print("The gRPC half is SKIPPED: " + grpc_protos.MISSING)
else:
    from grpc_protos import chat_pb2, chat_pb2_grpc, grpc, language_pb2

# Of a logit (tests/golden/data/README.md); a difference of two may be off by twice as much.
LOGIT_TOLERANCE = 1e-4


class Golden:
    def __init__(self, path):
        tensors = read_tensors(path)
        self.ids = tensors["greedy.ids"]
        self.top_ids = tensors["greedy.top5_ids"]
        self.top_logits = tensors["greedy.top5_logits"]
        last = tensors["logits.last"][0] if "logits.last" in tensors else tensors["logits"][-1]
        best = max(last)
        self.first_norm = best + math.log(sum(math.exp(value - best) for value in last))


def golden_files(model):
    """case -> file with its greedy continuation."""
    files = {}
    for folder in ("greedy", "outputs"):
        path = os.path.join(ROOT, folder, model)
        for name in os.listdir(path) if os.path.isdir(path) else []:
            if name.endswith(".safetensors"):
                files[name[:-len(".safetensors")]] = os.path.join(path, name)
    return files


def conversation_of(case):
    """[(role, [text or picture's path, in order])] without the empty answer at the end."""
    with open(os.path.join(ROOT, "cases", case + ".json")) as file:
        messages = json.load(file)["conversation"]
    turns = []
    for message in messages:
        role = message["role"].strip("<|>").lower()
        pieces = message["content"].split("<image>")
        parts = [pieces[0]]
        for path, text in zip(message.get("images", []), pieces[1:], strict=True):
            parts += [("image", os.path.join(ROOT, path)), text]
        turns.append((role, [part for part in parts if part]))
    if turns[-1] == ("assistant", []):
        turns.pop()
    return turns


def token_bytes(model):
    """id -> bytes, as the published tokenizers spell them."""
    with open(os.path.join(ROOT, "checkpoints", model, "tokenizer.json")) as file:
        tokenizer = json.load(file)
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelled = {chr(byte): byte for byte in visible}
    spelled.update({chr(256 + i): byte
                    for i, byte in enumerate(b for b in range(256) if b not in visible)})
    table = {id: bytes(spelled[char] for char in text)
             for text, id in tokenizer["model"]["vocab"].items()
             if all(char in spelled for char in text)}
    table.update({token["id"]: token["content"].encode() for token in tokenizer["added_tokens"]})
    return table


class GoldenTest:
    """One checkpoint; a class of each is made below."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN, model=os.path.join(ROOT, "checkpoints", cls.model))
        cls.spelling = token_bytes(cls.model)
        cls.goldens = {case: Golden(path) for case, path in golden_files(cls.model).items()}
        if not grpc_protos.MISSING:
            cls.channel = grpc.insecure_channel(
                cls.cluster.grpc, [("grpc.enable_http_proxy", 0)])
            cls.stub = chat_pb2_grpc.ChatServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        if not grpc_protos.MISSING:
            cls.channel.close()
        codes = cls.cluster.stop()
        assert codes == [0, 0, 0], codes

    def check(self, golden, steps):
        """`steps`: (token, logprob, [(token, logprob) of the best]) by step."""
        worst = 0
        self.assertEqual(len(steps), len(golden.ids))
        for step, (token, logprob, top) in enumerate(steps):
            self.assertEqual(token, self.name_of(golden.ids[step]), "step %d" % step)
            self.assertEqual([each[0] for each in top],
                             [self.name_of(id) for id in golden.top_ids[step]], "step %d" % step)
            self.assertEqual(logprob, top[0][1])
            logits = golden.top_logits[step]
            norm = golden.first_norm if step == 0 else logits[0] - top[0][1]
            for (_, value), logit in zip(top, logits):
                worst = max(worst, abs(value - (logit - norm)))
            self.assertLessEqual(top[0][1], 0)
        self.assertLess(worst, 2 * LOGIT_TOLERANCE)
        return worst

    def test_http(self):
        self.name_of = lambda id: self.spelling.get(id, b"")
        self.assertGreaterEqual(len(self.goldens), 4)
        for case, golden in sorted(self.goldens.items()):
            with self.subTest(case=case):
                messages = [
                    {"role": role,
                     "content": [picture_part(part[1]) if isinstance(part, tuple) else
                                 {"type": "text", "text": part} for part in parts]}
                    for role, parts in conversation_of(case)]
                chunks = self.cluster.stream(
                    {"messages": messages, "temperature": 0, "repetition_penalty": 1,
                     "ignore_eos": True, "max_tokens": len(golden.ids), "logprobs": True,
                     "top_logprobs": 5, "stream_options": {"include_usage": True}})
                self.assertEqual(chunks[-1], "[DONE]")
                tokens = [token for chunk in chunks[:-1] for choice in chunk["choices"]
                          if choice["logprobs"] for token in choice["logprobs"]["content"]]
                worst = self.check(golden, [
                    # Special tokens are named, but are not part of the text.
                    (bytes(token["bytes"]) or token["token"].encode(), token["logprob"],
                     [(bytes(each["bytes"]), each["logprob"]) for each in token["top_logprobs"]])
                    for token in tokens])
                self.assertTrue(text_of(chunks))
                with open(os.path.join(ROOT, "cases", case + ".json")) as file:
                    self.assertEqual(chunks[-2]["usage"]["prompt_tokens"],
                                     json.load(file)["num_tokens"])
                print("  http %s/%s: %d tokens, max error %.1e" % (
                    self.model, case, len(tokens), worst))

    @unittest.skipIf(grpc_protos.MISSING, grpc_protos.MISSING)
    def test_grpc(self):
        self.name_of = lambda id: id
        self.assertGreaterEqual(len(self.goldens), 4)
        roles = {"system": chat_pb2.Message.ROLE_SYSTEM, "user": chat_pb2.Message.ROLE_USER,
                 "assistant": chat_pb2.Message.ROLE_ASSISTANT}
        for case, golden in sorted(self.goldens.items()):
            with self.subTest(case=case):
                messages = []
                for role, parts in conversation_of(case):
                    message = chat_pb2.Message(role=roles[role])
                    for part in parts:
                        if isinstance(part, tuple):
                            with open(part[1], "rb") as file:
                                message.parts.add(image=chat_pb2.Image(
                                    data=file.read(), policy="IMAGE_POLICY_PUBLISHED"))
                        else:
                            message.parts.add(text=part)
                    messages.append(message)
                events = list(self.stub.Chat(chat_pb2.ChatRequest(
                    messages=messages, max_new_tokens=len(golden.ids), ignore_end_token=True,
                    sampling=language_pb2.SamplingParams(
                        temperature=0, repetition_penalty=1, logprobs=True, top_logprobs=5)),
                    timeout=60))
                self.assertEqual(events[-1].WhichOneof("event"), "end")
                tokens = [token for event in events for token in event.text.tokens]
                worst = self.check(golden, [
                    (token.id, token.logprob,
                     [(each.id, each.logprob) for each in token.top_logprobs])
                    for token in tokens])
                print("  grpc %s/%s: %d tokens, max error %.1e" % (
                    self.model, case, len(tokens), worst))


for model in sorted(os.listdir(os.path.join(ROOT, "checkpoints"))):
    globals()["Golden_" + model] = type("Golden_" + model, (GoldenTest, unittest.TestCase),
                                        {"model": model})

if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
