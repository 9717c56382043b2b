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
    # Beside the installed package `google`, which this must not hide.
    subprocess.run(["protoc", "-I" + PROTOS + "/google/rpc", "--python_out=" + GENERATED.name, "error_details.proto"],
                   check=True)
    sys.path.insert(0, GENERATED.name)
    import error_details_pb2  # noqa: F401
    from vl2.v1 import (chat_pb2, chat_pb2_grpc, language_pb2, language_pb2_grpc,  # noqa: F401
                        model_pb2, vision_pb2, vision_pb2_grpc)


def error_details(error):
    """What a call's error says for programs, by the name of the message."""
    found = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in error_details_pb2.Status.FromString(value).details:
                name = detail.type_url.rsplit(".", 1)[1]
                found[name] = getattr(error_details_pb2, name).FromString(detail.value)
    return found
