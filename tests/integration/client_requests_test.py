"""Requests as real clients send them, over HTTP. Usage: client_requests_test.py BIN_FOLDER

Each kind was refused once, or named the wrong fault.
"""
import base64
import os
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, png_of  # noqa: E402

BIN = sys.argv.pop(1)
MISSING = [name for name in ("lm_service", "vision_service", "gateway")
           if not os.path.exists(os.path.join(BIN, name))]
if MISSING:
    print("SKIPPED: not built: " + ", ".join(MISSING))
    sys.exit(77)

GREEDY = {"temperature": 0, "max_tokens": 6, "ignore_eos": True}
IMAGE = png_of(100, 60, seed=7)
BASE64 = base64.b64encode(IMAGE).decode()


def message(role, content):
    return {"role": role, "content": content}


def user(*content):
    return message("user", content[0] if len(content) == 1 else list(content))


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


class ClientRequestsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN)

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        assert codes == [0, 0, 0], codes

    def answer(self, messages, **more):
        status, answer = self.cluster.chat({**GREEDY, "messages": messages, **more})
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"]

    def refused(self, body, param):
        status, answer = self.cluster.chat({**GREEDY, "messages": [user("Hi")], **body})
        self.assertEqual(status, 400, answer)
        self.assertEqual(answer["error"]["param"], param, answer)
        return answer["error"]["message"]

    def test_data_uris(self):
        wrapped = "\n".join(BASE64[i:i + 76] for i in range(0, len(BASE64), 76))
        text = {"type": "text", "text": "What is it?"}
        expected = self.answer([user(image("data:image/png;base64," + BASE64), text)])
        for url in ("data:image/png;base64," + wrapped,
                    "data:image/png;base64," + wrapped.replace("\n", "\r\n") + "\r\n",
                    "data:image/png;base64," + BASE64.rstrip("="),
                    "DATA:IMAGE/PNG;BASE64," + BASE64,
                    "data:image/png;name=a.png;base64," + BASE64,
                    "data: image/png ; base64 ," + BASE64,
                    "  data:image/jpeg;base64," + BASE64 + " ",
                    "data:;base64," + BASE64,
                    "data:image/png;base64," + urllib.parse.quote(BASE64, safe=""),
                    "data:image/png," + urllib.parse.quote(IMAGE, safe=""),
                    "data:image/png;base64," + BASE64 + "#fragment"):
            with self.subTest(url[:40]):
                self.assertEqual(self.answer([user(image(url), text)]), expected)

    def test_system_messages_anywhere(self):
        joined = [message("system", "Look well.\n\nBe brief."), user("Hi")]
        expected = self.answer(joined)
        first, second = message("system", " Look well. "), message("developer", "Be brief.")
        for messages in ([first, second, user("Hi")], [first, user("Hi"), second],
                         [user("Hi"), first, message("system", ""), second]):
            with self.subTest(str(messages)):
                self.assertEqual(self.answer(messages), expected)
        self.answer([message("system", "Say hello.")])
        self.answer([user("Hi"), message("assistant", "Hello"), first, user("Go on")])
        self.answer([user("Hi"), message("assistant", "Hello"), first])

    def test_both_ends_of_ranges(self):
        for field, values in {"temperature": (0, 10), "top_p": (0, 1), "min_p": (0, 1),
                              "repetition_penalty": (1e-6, 10), "presence_penalty": (-2, 2),
                              "frequency_penalty": (-2, 2), "top_k": (-1, 0, 2**31 - 1),
                              "seed": (-2**63, 2**63 - 1), "n": (1, 16),
                              "max_tokens": (1, 2**31 - 1), "stop_token_ids": ([0], [2**31 - 1]),
                              "logit_bias": ({"0": -100}, {"0": 100})}.items():
            for value in values:
                with self.subTest(field=field, value=value):
                    self.answer([user("Hi")], **{"stop": ["e"], field: value})

    def test_top_p_0_takes_the_likeliest(self):
        greedy = self.answer([user("Hi")])
        self.assertEqual(self.answer([user("Hi")], temperature=1, top_p=0, top_k=0), greedy)

    def test_errors_name_their_field(self):
        for body, param in (({"logit_bias": {"2000000000": 1}}, "logit_bias"),
                            ({"top_p": 1.5}, "top_p"), ({"n": 17}, "n"),
                            ({"stop": [""]}, "stop"), ({"seed": 2**63}, "seed"),
                            ({"messages": []}, "messages"),
                            ({"messages": [message("user", [image("data:;base64,AAAAA")])]},
                             "messages[0].content[0].image_url.url"),
                            ({"messages": [user("x " * 9000)]}, "messages")):
            with self.subTest(body=str(body)[:60]):
                self.refused(body, param)

    def test_nothing_large_comes_back(self):
        word = "\u20ac" * (1 << 20)
        for body in ({"model": word}, {"logit_bias": {word: 1}}, {"stop_token_ids": [word]},
                     {"messages": [{"role": word, "content": "x"}]}, {"response_format": word}):
            status, _, text = self.cluster.request("POST", "/v1/chat/completions",
                                                   {"messages": [user("Hi")], **body})
            self.assertIn(status, (400, 404), text[:500])
            self.assertLess(len(text), 1000)


if __name__ == "__main__":
    unittest.main()
