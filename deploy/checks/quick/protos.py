"""Whether a caller of the release before still understands the protos of now, and the other way round.

The commit in deploy/previous_release is what runs beside a new version while that rolls out: no field,
value, method or message of it may change its number, type or name, or go away without being reserved.
"""
import os
import subprocess
import tempfile

import tools


def descriptors(folder):
    from google.protobuf import descriptor_pb2
    files = sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder)
                   for name in names if name.endswith(".proto"))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I" + folder, "--descriptor_set_out=" + out.name, *files], check=True, cwd=folder)
        found = descriptor_pb2.FileDescriptorSet()
        found.ParseFromString(out.read())
    return found


def described(files):
    """{what: how}, for everything that travels."""
    told = {}

    def message(scope, each):
        name = scope + "." + each.name
        told["message " + name] = "there"
        for field in each.field:
            oneof = each.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
            told["field %s.%d" % (name, field.number)] = (field.name, field.type, field.label, field.type_name, oneof)
        for span in each.reserved_range:
            for number in range(span.start, min(span.end, span.start + 1000)):
                told["reserved %s.%d" % (name, number)] = "there"
        for inner in each.nested_type:
            message(name, inner)
        for inner in each.enum_type:
            enum(name, inner)

    def enum(scope, each):
        for value in each.value:
            told["value %s.%s.%d" % (scope, each.name, value.number)] = value.name

    for file in files.file:
        for each in file.message_type:
            message(file.package, each)
        for each in file.enum_type:
            enum(file.package, each)
        for service in file.service:
            for method in service.method:
                told["method %s.%s/%s" % (file.package, service.name, method.name)] = (
                    method.input_type, method.output_type, method.client_streaming, method.server_streaming)
    return told


def compare(before, now):
    for what, how in sorted(before.items()):
        if what.startswith("reserved"):
            continue
        if what not in now:
            kind, name = what.split(" ", 1)
            if not (kind == "field" and "reserved " + name in now):
                yield "%s is gone" % what
        elif now[what] != how:
            yield "%s was %s and is %s" % (what, how, now[what])


def check():
    with open(os.path.join(tools.REPOSITORY, "deploy", "previous_release")) as file:
        commit = file.read().strip()
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "-C", tools.REPOSITORY, "archive", commit, "protos"], capture_output=True)
        if archive.returncode != 0:
            return ["protos: the commit of deploy/previous_release is not in this clone: %s" %
                    archive.stderr.decode().strip()]
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        before = described(descriptors(os.path.join(folder, "protos")))
    now = described(descriptors(os.path.join(tools.REPOSITORY, "protos")))
    errors = ["protos: " + error for error in compare(before, now)]
    # A check that finds nothing must be able to find something.
    some = next(key for key in now if key.startswith("field"))
    if not list(compare(now, {key: value for key, value in now.items() if key != some})):
        errors.append("protos: a field that goes away is not noticed")
    return errors
