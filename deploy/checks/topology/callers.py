"""One call to a service with a certificate, from a pod's network: prints the code with which it ends.

Usage: callers.py ADDRESS NAME METHOD FILES; FILES: the CAs, and the caller's certificate and key; none: no TLS.
The request is empty, so that a call that is let in ends with a code for that, if with any.
"""
import sys

import grpc


def main():
    address, name, method, *files = sys.argv[1:]
    options = [("grpc.ssl_target_name_override", name)]
    if files:
        texts = []
        for path in files:
            with open(path, "rb") as file:
                texts.append(file.read())
        roots, certificate, key = texts + [None] * (3 - len(texts))
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(roots, key, certificate), options)
    else:
        channel = grpc.insecure_channel(address)
    try:
        for _ in channel.stream_stream(method)(iter([b""]), timeout=5):
            break
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name)


if __name__ == "__main__":
    main()
