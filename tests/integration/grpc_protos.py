"""Client code in Python for the protos, made afresh for each test run.

Needs python3-grpcio and grpc_python_plugin; `MISSING` says which of them is not there.
"""
import os
import shutil
import subprocess
import sys
import tempfile

from cluster import REPOSITORY

MISSING = ""
PLUGIN = shutil.which("grpc_python_plugin")
try:
    import grpc
except ImportError:
    grpc = None
    MISSING = "python3-grpcio is not there for " + sys.executable
if PLUGIN is None:
    MISSING = "grpc_python_plugin is not there"

if not MISSING:
    GENERATED = tempfile.TemporaryDirectory(prefix="vl2-protos")
    PROTOS = os.path.join(REPOSITORY, "protos")
    subprocess.run(
        ["protoc", "-I" + PROTOS, "--python_out=" + GENERATED.name, "--grpc_out=" + GENERATED.name,
         "--plugin=protoc-gen-grpc=" + PLUGIN,
         *["vl2/v1/%s.proto" % name for name in ("model", "vision", "language", "chat")]],
        check=True)
    sys.path.insert(0, GENERATED.name)
    from vl2.v1 import (chat_pb2, chat_pb2_grpc, language_pb2, language_pb2_grpc,  # noqa: F401
                        model_pb2, vision_pb2, vision_pb2_grpc)
