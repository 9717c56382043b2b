"""ChatService seen by a client in another language, with code generated from the protos.

Usage: grpc_client_test.py BIN_FOLDER. Needs python3-grpcio and grpc_python_plugin; skipped, loudly,
without them.
"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster  # noqa: E402
import grpc_protos  # noqa: E402

BIN = sys.argv.pop(1)


def skip(reason):
    print("SKIPPED: " + reason)
    sys.exit(77)


for name in ("lm_service", "vision_service", "gateway"):
    if not os.path.exists(os.path.join(BIN, name)):
        skip(name + " is not built")
if grpc_protos.MISSING:
    skip(grpc_protos.MISSING)
from grpc_protos import chat_pb2, chat_pb2_grpc, grpc, language_pb2, model_pb2  # noqa: E402


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


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
