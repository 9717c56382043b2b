"""Where the pinned tools of deploy/check lie, and the versions of what Kubernetes' schemas come from."""
import glob
import json
import os
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HOME = os.environ.get("VL2_DEPLOY_TOOLS") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vl2serve-deploy")
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2"
# The API's description, and the definitions of the kinds that others add, with the files that hold them.
KUBERNETES = ("k8s.io/kubernetes@v1.36.3", "api/openapi-spec/swagger.json")
DEFINITIONS = [
    ("github.com/kedacore/keda/v2@v2.20.2", "config/crd/bases/*.yaml"),
    ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd/*.yaml"),
    ("github.com/cert-manager/cert-manager@v1.21.1", "deploy/crds/*.yaml"),
    ("sigs.k8s.io/gateway-api@v1.6.3", "config/crd/standard/*.yaml"),
]
SCHEMAS = os.path.join(HOME, "schemas-%s.json" % "-".join(
    each.split("@")[1] for each in [KUBERNETES[0], *(module for module, _ in DEFINITIONS)]))


def kustomize():
    path = os.path.join(HOME, "bin", "kustomize-" + KUSTOMIZE.split("@")[1])
    if not os.path.exists(path):
        sys.exit("check: %s is not there, run scripts/setup --deploy" % path)
    return path


def strict(schema, is_root=False):
    """A JSON schema in which unknown fields are errors, from OpenAPI's; $ref and all."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    kept = {key: value for key, value in schema.items()
            if key in ("type", "enum", "required", "pattern", "minimum", "maximum", "minItems", "maxItems",
                       "minLength", "maxLength", "$ref")}
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    if "properties" in schema:
        kept["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        if is_root:
            for key in ("apiVersion", "kind"):
                kept["properties"].setdefault(key, {"type": "string"})
            kept["properties"].setdefault("metadata", {"type": "object"})
    if "items" in schema:
        kept["items"] = strict(schema["items"])
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        kept["additionalProperties"] = strict(more)
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    return kept


def make_schemas():
    """{"definitions": …, "kinds": {"apps/v1 Deployment": schema}}, from the modules' files."""
    import yaml

    class Loader(yaml.CSafeLoader):
        """A lone "=" is a text in these files."""

    Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)

    def folder(module):
        done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True,
                              cwd=HOME, env={**os.environ, "GOFLAGS": "-mod=mod"})
        told = json.loads(done.stdout)
        if "Dir" not in told:
            sys.exit("setup: %s: %s" % (module, told.get("Error", done.stderr)))
        return told["Dir"]

    with open(os.path.join(folder(KUBERNETES[0]), KUBERNETES[1])) as file:
        swagger = json.load(file)
    definitions, kinds = {}, {}
    for name, schema in swagger["definitions"].items():
        definitions[name] = strict(schema)
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            version = "/".join(part for part in (kind["group"], kind["version"]) if part)
            kinds["%s %s" % (version, kind["kind"])] = {"$ref": "#/definitions/" + name}
    # They say what they may hold in words alone.
    for name in ("Quantity", "IntOrString"):
        for full in [each for each in definitions if each.endswith("." + name)]:
            definitions[full] = {"type": ["integer", "number", "string"]}
    for module, pattern in DEFINITIONS:
        for path in glob.glob(os.path.join(folder(module), pattern)):
            with open(path) as file:
                documents = [each for each in yaml.load_all(file, Loader) if each]
            for document in documents:
                if document.get("kind") != "CustomResourceDefinition":
                    continue
                spec = document["spec"]
                for version in spec["versions"]:
                    kinds["%s/%s %s" % (spec["group"], version["name"], spec["names"]["kind"])] = strict(
                        version["schema"]["openAPIV3Schema"], is_root=True)
    with open(SCHEMAS + ".new", "w") as file:
        json.dump({"definitions": definitions, "kinds": kinds}, file)
    os.replace(SCHEMAS + ".new", SCHEMAS)


def install():
    """For scripts/setup --deploy."""
    os.makedirs(os.path.join(HOME, "bin"), exist_ok=True)
    if subprocess.run(["go", "version"], capture_output=True).returncode != 0:
        sys.exit("setup: Go 1.24 or newer is needed for kustomize and is not packaged here; install it first")
    with open(os.path.join(HOME, "go.mod"), "w") as file:
        file.write("module tools\n")
    target = os.path.join(HOME, "bin", "kustomize-" + KUSTOMIZE.split("@")[1])
    if not os.path.exists(target):
        subprocess.run(["go", "install", KUSTOMIZE], check=True,
                       env={**os.environ, "GOBIN": os.path.join(HOME, "bin"), "GOFLAGS": ""})
        os.replace(os.path.join(HOME, "bin", "kustomize"), target)
    if not os.path.exists(SCHEMAS):
        make_schemas()


if __name__ == "__main__":
    install()
