"""deploy/check quick: the manifests, without a cluster.

Renders every overlay and every component, validates each object strictly against Kubernetes' own
schemas and those of the kinds that others add, and holds the objects against the design's numbers
(rules.py). --mutate takes each asserted field away in turn, on which a rule must fail.
"""
import argparse
import copy
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import protos  # noqa: E402
import rules  # noqa: E402
import tls  # noqa: E402
import tools  # noqa: E402

KUBERNETES = os.path.join(tools.REPOSITORY, "deploy", "kubernetes")


def render(folder):
    done = subprocess.run([tools.kustomize(), "build", folder], capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        sys.exit("check: %s does not render:\n%s" % (folder, done.stderr))
    return done.stdout


def component(name):
    """The base with one component on it."""
    with tempfile.TemporaryDirectory(dir=KUBERNETES) as folder:
        with open(os.path.join(folder, "kustomization.yaml"), "w") as file:
            file.write("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
                       "namespace: vl2serve\nresources: [../base]\ncomponents: [../components/%s]\n" % name)
        return render(folder)


def objects(text):
    return [each for each in yaml.safe_load_all(text) if each]


class Validator:
    def __init__(self):
        import jsonschema
        if not os.path.exists(tools.SCHEMAS):
            sys.exit("check: %s is not there, run scripts/setup --deploy" % tools.SCHEMAS)
        with open(tools.SCHEMAS) as file:
            told = json.load(file)
        self.definitions, self.kinds = told["definitions"], told["kinds"]
        self.draft = jsonschema.Draft7Validator
        self.made = {}

    def errors(self, thing):
        kind = "%s %s" % (thing.get("apiVersion"), thing.get("kind"))
        if kind not in self.kinds:
            return ["no schema for %s" % kind]
        if kind not in self.made:
            self.made[kind] = self.draft({**self.kinds[kind], "definitions": self.definitions})
        return ["%s %s: %s: %s" % (kind, thing["metadata"]["name"], ".".join(map(str, error.absolute_path)),
                                   error.message[:200])
                for error in self.made[kind].iter_errors(thing)]


def shell_scripts():
    """Everything that bash runs, by its first line."""
    found = []
    for path in [".ci/run", "deploy/check", "deploy/pin",
                 *("scripts/" + name for name in sorted(os.listdir(os.path.join(tools.REPOSITORY, "scripts"))))]:
        path = os.path.join(tools.REPOSITORY, path)
        if os.path.isfile(path):
            with open(path, "rb") as script:
                if re.match(rb"#!.*\b(ba)?sh$", script.readline().rstrip()):
                    found.append(path)
    return found


def lint():
    """yamllint and shellcheck, where a skip is a failure."""
    found = []
    for command in (["yamllint", "-s", "-c", os.path.join(tools.REPOSITORY, "deploy", ".yamllint"),
                     os.path.join(tools.REPOSITORY, "deploy")],
                    ["shellcheck", *shell_scripts()]):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            found.append("%s is not there, run scripts/setup --deploy" % command[0])
            continue
        if done.returncode != 0:
            found.append("%s:\n%s" % (command[0], done.stdout + done.stderr))
    return found


def observe():
    """The rules and alerts: syntax, tests, and that the manifests carry them as they are."""
    folder = os.path.join(tools.REPOSITORY, "deploy", "observe")
    errors = []
    for command in (["promtool", "check", "rules", "rules.yaml"], ["promtool", "test", "rules", "rules_test.yaml"]):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        except FileNotFoundError:
            return ["promtool is not there, run scripts/setup --deploy"]
        if done.returncode != 0:
            errors.append("%s:\n%s" % (" ".join(command), done.stdout + done.stderr))
    with open(os.path.join(folder, "rules.yaml")) as file:
        groups = yaml.safe_load(file)["groups"]
    with open(os.path.join(KUBERNETES, "components", "monitoring", "rules.yaml")) as file:
        if yaml.safe_load(file)["spec"]["groups"] != groups:
            errors.append("components/monitoring/rules.yaml does not hold deploy/observe/rules.yaml: "
                          "deploy/check quick --write_rules")
    with open(os.path.join(folder, "rules_test.yaml")) as file:
        tests = yaml.safe_load(file)["tests"]
    tested = {kind: {each["alertname"] for test in tests for each in test.get("alert_rule_test", [])
                     if bool(each.get("exp_alerts")) == (kind == "fires")} for kind in ("fires", "silent")}
    with open(os.path.join(tools.REPOSITORY, "deploy", "README.md")) as file:
        readme = file.read()
    for alert in sorted({rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}):
        for kind, names in tested.items():
            if alert not in names:
                errors.append("alert %s: no test in which it is %s" % (alert, kind))
        if "| %s |" % alert not in readme:
            errors.append("alert %s has no line in deploy/README.md" % alert)
    with open(os.path.join(folder, "dashboard.json")) as file:
        dashboard = file.read()
    for name, text in (("rules.yaml", json.dumps(groups)), ("dashboard.json", dashboard)):
        unknown = rules.metrics_in(text) - rules.exported() - {"vl2_"}
        if unknown:
            errors.append("%s uses %s, which nothing exports" % (name, sorted(unknown)))
    records = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    with open(os.path.join(folder, "adapter.yaml")) as file:
        adapter = file.read()
    with open(os.path.join(KUBERNETES, "components", "hpa", "autoscalers.yaml")) as file:
        asked = set(re.findall(r"\bvl2:[a-z:_]+", file.read()))
    for name, text in (("dashboard.json", dashboard), ("adapter.yaml", adapter)):
        unknown = set(re.findall(r"\bvl2:[a-z:_0-9]+", text)) - records
        if unknown:
            errors.append("%s uses %s, which rules.yaml does not record" % (name, sorted(unknown)))
    # The records have no label "namespace", by which the adapter asks unless it is told otherwise.
    for rule in yaml.safe_load(adapter)["externalRules"]:
        if rule.get("resources", {}).get("namespaced") is not False:
            errors.append("adapter.yaml: %s is asked for by a namespace that it does not have" % rule["seriesQuery"])
    if asked - set(re.findall(r"\bvl2:[a-z:_]+", adapter)):
        errors.append("adapter.yaml does not tell all that components/hpa asks for")
    return errors


def write_rules():
    with open(os.path.join(tools.REPOSITORY, "deploy", "observe", "rules.yaml")) as file:
        text = file.read()
    body = "".join("  " + line if line.strip() else line
                   for line in text[text.index("groups:"):].splitlines(keepends=True))
    with open(os.path.join(KUBERNETES, "components", "monitoring", "rules.yaml"), "w") as file:
        file.write("# deploy/observe/rules.yaml for the Prometheus Operator (deploy/check quick --write_rules).\n"
                   "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: vl2serve\n"
                   "spec:\n" + body)


def without(things, index, path):
    changed = copy.deepcopy(things)
    parent = changed[index]
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return changed


def fails(name, things, validator, index):
    """Whether something is said about objects from which a field was taken, be it by the schemas."""
    try:
        return bool(rules.check(name, things) or validator.errors(things[index]))
    except (KeyError, TypeError, ValueError):  # The check would have ended with it.
        return True


def mutate_tls(things):
    """The same for the component tls."""
    survivors, count = [], 0
    for index, thing in enumerate(things):
        for path in tls.places(thing):
            count += 1
            try:
                missed = bool(list(tls.check(without(things, index, path))))
            except (KeyError, TypeError):  # The check would have ended with it.
                missed = True
            if not missed:
                survivors.append("%s %s: %s" % (thing["kind"], thing["metadata"]["name"], ".".join(map(str, path))))
    return survivors, count


def mutate(rendered, validator):
    """Takes away each asserted field of the first overlay that has it; the rules that survive it."""
    survivors, count = [], 0
    name = "cpu-demo"
    things = rendered[name]
    for index, thing in enumerate(things):
        for path in rules.related_places(thing):
            count += 1
            if not fails(name, without(things, index, path), validator, index):
                survivors.append("%s %s: %s" % (thing["kind"], thing["metadata"]["name"], ".".join(map(str, path))))
        if thing["kind"] not in ("Namespace", "ConfigMap", "Deployment"):
            count += 1
            if not rules.check(name, things[:index] + things[index + 1:]):
                survivors.append("%s %s" % (thing["kind"], thing["metadata"]["name"]))
        # A field that nobody knows must be an error of the schema.
        added = copy.deepcopy(thing)
        added.get("spec", added)["unknownField"] = 1
        count += 1
        if not validator.errors(added):
            survivors.append("an unknown field in %s %s" % (thing["kind"], thing["metadata"]["name"]))
    for rule in rules.FIELDS:
        for name, things in rendered.items():
            places = [(i, path) for i, thing in enumerate(things) for path in rule.places(thing)]
            if not places:
                continue
            for index, path in places:
                count += 1
                if not rules.check(name, without(things, index, path)):
                    survivors.append("%s: %s without %s" % (name, things[index]["metadata"]["name"],
                                                            ".".join(map(str, path))))
            break
        else:
            survivors.append("no object has what the rule \"%s\" asserts" % rule.what)
    return survivors, count


def mutate_tracing(things):
    """The same for the component tracing: its settings, and all of its policy."""
    survivors, count = [], 0
    for index, thing in enumerate(things):
        paths = []
        if thing["kind"] == "ConfigMap":
            paths = [("data", key) for key in thing["data"] if key.startswith(("VL2_OTLP", "VL2_TRACE"))]
        elif thing["metadata"]["name"] == "vl2-tracing":
            paths = [("spec", key) for key in thing["spec"]] + [("spec", "egress", i) for i in range(2)]
        for path in paths:
            count += 1
            if not list(rules.traced(without(things, index, path))):
                survivors.append("tracing: %s: %s" % (thing["metadata"]["name"], ".".join(map(str, path))))
    return survivors, count


def main():
    parser = argparse.ArgumentParser(prog="deploy/check quick", description=__doc__.split("\n\n")[0])
    parser.add_argument("--mutate", action="store_true", help="take each asserted field away: must fail")
    parser.add_argument("--render", metavar="OVERLAY", help="print the objects of one overlay")
    parser.add_argument("--write_rules", action="store_true", help="write the rules into their component")
    arguments = parser.parse_args()
    if arguments.write_rules:
        write_rules()
        return 0
    if arguments.render:
        sys.stdout.write(render(os.path.join(KUBERNETES, "overlays", arguments.render)))
        return 0
    names = sorted(os.path.basename(each) for each in glob.glob(os.path.join(KUBERNETES, "overlays", "*")))
    rendered = {name: objects(render(os.path.join(KUBERNETES, "overlays", name))) for name in names}
    parts = sorted(os.path.basename(each) for each in glob.glob(os.path.join(KUBERNETES, "components", "*")))
    with_component = {name: objects(component(name)) for name in parts}

    errors, num_objects = [], 0
    validator = Validator()
    for name, things in [*rendered.items(), *with_component.items()]:
        num_objects += len(things)
        errors += ["%s: %s" % (name, error) for thing in things for error in validator.errors(thing)]
    for name, things in rendered.items():
        errors += ["%s: %s" % (name, error) for error in rules.check(name, things)]
    errors += rules.check_components(with_component)
    errors += tls.check(with_component["tls"])
    # What is applied by hand.
    with open(os.path.join(KUBERNETES, "components", "weights-pvc", "fill.yaml")) as file:
        errors += [error for thing in objects(file.read()) for error in validator.errors(thing)]
    errors += lint()
    errors += protos.check()
    errors += observe()
    for error in errors:
        print("FAILED " + error)
    print("%d objects of %d overlays and %d components, %d kinds known; %d rules; %d errors" % (
        num_objects, len(names), len(parts), len(validator.kinds), len(rules.FIELDS) + len(rules.RELATIONS),
        len(errors)))
    if arguments.mutate and not errors:
        survivors, count = mutate(rendered, validator)
        for more, more_count in (mutate_tls(with_component["tls"]), mutate_tracing(with_component["tracing"])):
            survivors, count = survivors + more, count + more_count
        for survivor in survivors:
            print("FAILED nobody misses " + survivor)
        print("%d fields taken away, %d not missed" % (count, len(survivors)))
        errors += survivors
    print("not checked: what an API server adds to the schemas (defaults, admission), and images themselves;\n"
          "observe/prometheus.yaml and adapter.yaml, whose programs Debian builds without Kubernetes or not at all")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
