"""The CustomResourceDefinitions of the kinds that others add, from the modules that `quick` reads them from."""
import glob
import json
import os
import subprocess

import tools
import yaml


class Loader(yaml.CSafeLoader):
    """A lone "=" is a text in these files."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def folder(module):
    done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, cwd=tools.HOME,
                          env={**os.environ, "GOFLAGS": "-mod=mod"})
    told = json.loads(done.stdout)
    if "Dir" not in told:
        raise AssertionError("%s: %s" % (module, told.get("Error", done.stderr)))
    return told["Dir"]


def definitions():
    found = []
    for module, pattern in tools.DEFINITIONS:
        for path in sorted(glob.glob(os.path.join(folder(module), pattern))):
            with open(path) as file:
                found += [each for each in yaml.load_all(file, Loader)
                          if each and each["kind"] == "CustomResourceDefinition"]
    return found


def established(thing):
    return any(each["type"] == "Established" and each["status"] == "True"
               for each in thing.get("status", {}).get("conditions", []))
