"""Streams that run beside a test and must not notice it."""
import threading
import time


class SteadyStreams:
    """`count` clients that stream the same answers over and over; the texts must be those of a quiet
    server. Used as a context: leaving it ends the streams and raises what went wrong."""

    def __init__(self, cluster, count=8, max_tokens=40, image=None):
        self.cluster = cluster
        self.requests = []
        for i in range(count):
            content = [{"type": "text", "text": "Stream number %d" % i}]
            if image is not None and i % 2:
                content.insert(0, image)
            self.requests.append({"messages": [{"role": "user", "content": content}], "temperature": 0,
                                  "max_tokens": max_tokens, "ignore_eos": True})
        self.expected = [self.text(request) for request in self.requests]
        self.errors = []
        self.answers = 0
        self.slowest = 0.0  # seconds of one whole answer
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]

    def text(self, request):
        chunks = list(self.cluster.open_stream(request))
        if chunks[-1] != "[DONE]" or any("error" in chunk for chunk in chunks[:-1]):
            raise AssertionError("a stream ended badly: %s" % chunks[-2:])
        return "".join(choice["delta"].get("content", "") for chunk in chunks[:-1] for choice in chunk["choices"])

    def run(self, i):
        while not self.stop.is_set():
            begin = time.monotonic()
            try:
                text = self.text(self.requests[i])
                if text != self.expected[i]:
                    raise AssertionError("stream %d: %r is not %r" % (i, text, self.expected[i]))
            except BaseException as error:  # noqa: BLE001 - told at the end
                self.errors.append(error)
                return
            self.answers += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, traceback):
        self.stop.set()
        for thread in self.threads:
            thread.join(120)
        if kind is None and self.errors:
            raise self.errors[0]
        if kind is None and self.answers < len(self.threads):
            raise AssertionError("only %d answers streamed" % self.answers)
