"""Requests straight to one gateway, each in a thread of its own; what becomes of them does not matter here."""
import base64
import http.client
import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "tests", "integration"))
from cluster import png_of  # noqa: E402


def content(number, image):
    parts = [{"type": "text", "text": "Question %d of the alerts check" % number}]
    if image:
        data = base64.b64encode(png_of(*image, 5000 + number)).decode()
        parts.insert(0, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}})
    return parts


def one(address, number, max_tokens, image):
    body = {"messages": [{"role": "user", "content": content(number, image)}], "temperature": 0,
            "ignore_eos": True, "max_tokens": max_tokens, "stream": True}
    connection = http.client.HTTPConnection(address, 8080, timeout=120)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass  # the fault's
    finally:
        connection.close()


def start(pod, count, max_tokens, image=None):
    """Threads of `count` requests that differ; image: a width and a height."""
    threads = [threading.Thread(target=one, args=(pod.network.address, number, max_tokens, image), daemon=True)
               for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
