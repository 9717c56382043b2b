"""The services seen by a client in another language, with code generated from the protos.

Usage: grpc_client_test.py BIN_FOLDER [--golden=FOLDER] [unittest flags]. Needs python3-grpcio and grpc_python_plugin; skipped, loudly,
without them.
"""
import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster, Process  # noqa: E402
import grpc_protos  # noqa: E402
from golden_files import read_tensors  # noqa: E402

BIN = sys.argv.pop(1)
ROOT = DATA
if len(sys.argv) > 1 and sys.argv[1].startswith("--golden="):
    ROOT = sys.argv.pop(1)[len("--golden="):]


def skip(reason):
    print("SKIPPED: " + reason)
    sys.exit(77)


for name in ("lm_service", "vision_service", "gateway"):
    if not os.path.exists(os.path.join(BIN, name)):
        skip(name + " is not built")
if grpc_protos.MISSING:
    skip(grpc_protos.MISSING)
from grpc_protos import (chat_pb2, chat_pb2_grpc, grpc, language_pb2, model_pb2,  # noqa: E402
                         vision_pb2, vision_pb2_grpc)


class GrpcClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN)
        cls.channel = grpc.insecure_channel(cls.cluster.grpc)
        cls.stub = chat_pb2_grpc.ChatServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        cls.cluster.stop()

    def request(self, *parts, **more):
        message = chat_pb2.Message(role=chat_pb2.Message.ROLE_USER, parts=parts)
        sampling = language_pb2.SamplingParams(temperature=0, repetition_penalty=1, logprobs=True)
        return chat_pb2.ChatRequest(messages=[message], sampling=sampling, ignore_end_token=True,
                                    **more)

    def test_a_picture(self):
        with open(os.path.join(DATA, "images", "scene_640x480.png"), "rb") as file:
            image = chat_pb2.Image(data=file.read())
        request = self.request(chat_pb2.Part(image=image),
                               chat_pb2.Part(text="Describe this image in detail."),
                               max_new_tokens=24)
        events = list(self.stub.Chat(request, timeout=60))
        self.assertEqual(events[-1].WhichOneof("event"), "end")
        self.assertEqual(events[-1].end.prompt_tokens, 1045)
        self.assertEqual(events[-1].end.generated_tokens, 24)
        text = "".join(event.text.text for event in events)
        self.assertIn(": vl5ivconvk to", text)
        self.assertLess(max(token.logprob for event in events for token in event.text.tokens), 0)
        self.assertTrue(any(event.HasField("progress") for event in events))
        ends = [event.sample_end for event in events if event.HasField("sample_end")]
        self.assertEqual([end.reason for end in ends], [language_pb2.FINISH_REASON_LENGTH])

    def test_errors_and_info(self):
        with self.assertRaises(grpc.RpcError) as raised:
            list(self.stub.Chat(chat_pb2.ChatRequest(), timeout=20))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        with self.assertRaises(grpc.RpcError) as raised:
            list(self.stub.Chat(self.request(chat_pb2.Part(text="word " * 5000)), timeout=20))
        self.assertIn("4095", raised.exception.details())
        info = self.stub.GetModelInfo(model_pb2.GetModelInfoRequest(), timeout=20)
        self.assertEqual(info.model_name, "tiny_mha")
        self.assertEqual(info.max_context_tokens, 4096)

    def test_cancel_and_deadline(self):
        request = self.request(chat_pb2.Part(text="Hello"), max_new_tokens=4000)
        call = self.stub.Chat(request)
        next(call)
        call.cancel()
        with self.assertRaises(grpc.RpcError) as raised:
            list(self.stub.Chat(request, timeout=0.05))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        while self.cluster.metric(self.cluster.gateway, "vl2_gateway_upstream_calls") > 0:
            pass  # the test's own time limit ends this


class EncodeTest(unittest.TestCase):
    """VisionService.Encode of every golden picture: the embeddings are the reference's."""
    TOLERANCE = 2e-5  # the golden data's, for inputs_embeds

    def encode(self, stub, path):
        with open(path, "rb") as file:
            data = file.read()

        def requests():
            yield vision_pb2.EncodeRequest(header=vision_pb2.EncodeHeader(
                total_bytes=len(data), policy="IMAGE_POLICY_PUBLISHED"))
            for begin in range(0, len(data), 10_000):
                yield vision_pb2.EncodeRequest(chunk=data[begin:begin + 10_000])
            yield vision_pb2.EncodeRequest(end_of_image=vision_pb2.EndOfImage())
            yield vision_pb2.EncodeRequest(start=vision_pb2.EncodeStart(
                return_to_caller=vision_pb2.ReturnToCaller()))

        layout, rows = None, []
        for response in stub.Encode(requests(), timeout=120):
            if response.HasField("layout"):
                layout = response.layout
            elif response.HasField("embeddings"):
                part = response.embeddings
                self.assertEqual(part.first_embedding, len(rows))
                self.assertEqual(part.dtype, model_pb2.DTYPE_F32)
                width = len(part.data) // part.num_embeddings
                rows += [part.data[i * width:(i + 1) * width] for i in range(part.num_embeddings)]
        self.assertEqual(len(rows), layout.num_embeddings)
        return layout, [struct.unpack("<%df" % (len(row) // 4), row) for row in rows]

    def test_embeddings(self):
        compared = 0
        for model in sorted(os.listdir(os.path.join(ROOT, "outputs"))):
            vision = Process(os.path.join(BIN, "vision_service"),
                             "--model=" + os.path.join(ROOT, "checkpoints", model),
                             "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0")
            channel = grpc.insecure_channel(vision.address)
            stub = vision_pb2_grpc.VisionServiceStub(channel)
            for name in sorted(os.listdir(os.path.join(ROOT, "outputs", model))):
                if not name.endswith(".safetensors"):
                    continue
                case = name[:-len(".safetensors")]
                with open(os.path.join(ROOT, "cases", case + ".json")) as file:
                    info = json.load(file)
                golden = read_tensors(os.path.join(ROOT, "outputs", model, name))
                pictures = [path for message in info["conversation"]
                            for path in message.get("images", [])]
                embeddings = []
                for path, crop in zip(pictures, info["images_spatial_crop"]):
                    layout, rows = self.encode(stub, os.path.join(ROOT, path))
                    self.assertEqual([layout.tiles_wide, layout.tiles_high], crop)
                    embeddings += rows
                self.assertEqual(len(embeddings), info["num_image_tokens"])
                image_index = {}
                for token, is_image in enumerate(golden["images_seq_mask"]):
                    if is_image:
                        image_index[token] = len(image_index)
                for token, expected in zip(golden["embeds_rows"], golden["inputs_embeds"], strict=True):
                    if token not in image_index:
                        continue
                    for value, other in zip(expected, embeddings[image_index[token]], strict=True):
                        self.assertLess(abs(value - other), self.TOLERANCE, (model, case, token))
                    compared += 1
            channel.close()
            self.assertEqual(vision.stop(), 0)
        self.assertGreater(compared, 100)


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
