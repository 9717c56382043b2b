"""The design's numbers, as rules for rendered objects.

A Field rule names a field that objects must have, and what it must be; --mutate takes it away and a rule
must fail. A relation is a function over all objects of an overlay.
"""
import glob
import json
import os
import re

import yaml

import tools

PORTS = {"gateway": {"http": 8080, "grpc": 50060, "metrics": 9060},
         "language": {"grpc": 50061, "metrics": 9061}, "vision": {"grpc": 50062, "metrics": 9062}}
MAIN = {"gateway": "gateway", "language": "lm_service", "vision": "vision_service"}
GIB = 1 << 30
# Bytes of the weights in bf16: language, vision.
WEIGHTS = {"cpu-demo": (10 << 20, 10 << 20), "cpu-tiny": (6 * GIB, GIB), "cpu-small": (31 * GIB, GIB),
           "cpu-base": (55 * GIB, GIB)}
STARTUP_PERIODS = {"cpu-demo": 24, "cpu-tiny": 40, "cpu-small": 90, "cpu-base": 140}


def component_of(thing):
    return thing["metadata"].get("labels", {}).get("app.kubernetes.io/component") or \
        thing["metadata"]["name"].removeprefix("vl2-").split("-")[0]


def lookup(thing, path):
    """Values at a path with * for all items of a list: [(path, value)]."""
    found = [((), thing)]
    for key in path:
        next_found = []
        for at, value in found:
            if key == "*":
                next_found += [((*at, i), item) for i, item in enumerate(value or [])]
            elif isinstance(value, dict) and key in value:
                next_found.append(((*at, key), value[key]))
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                next_found.append(((*at, key), value[key]))
        found = next_found
    return found


class Field:
    def __init__(self, what, kind, path, good, names=None, optional=False):
        self.what, self.kind, self.path, self.good, self.names = what, kind, path, good, names
        self.optional = optional  # whether the list that * stands for may be missing

    def applies(self, thing):
        return thing["kind"] == self.kind and (self.names is None or thing["metadata"]["name"] in self.names)

    def places(self, thing):
        return [at for at, _ in lookup(thing, self.path)] if self.applies(thing) else []

    def errors(self, thing):
        if not self.applies(thing):
            return []
        if "*" in self.path:
            at = self.path.index("*") + 1
            items = [item for _, item in lookup(thing, self.path[:at])]
            found = [value for item in items for value in (lookup(item, self.path[at:]) or [((), None)])]
        else:
            found = lookup(thing, self.path)
        label = "%s %s: %s: %s" % (thing["kind"], thing["metadata"]["name"],
                                   ".".join(map(str, self.path)), self.what)
        if not found:
            return [] if self.optional else [label + ": is not there"]
        return ["%s: it is %r" % (label, value) for _, value in found if not self.good(value, thing)]


def equal(wanted):
    return lambda value, thing: value == wanted


POD = ("spec", "template", "spec")
FIRST = (*POD, "containers", 0)
PRE_STOP = 15
DRAIN = {"gateway": 600, "language": 20, "vision": 30}

FIELDS = [
    Field("no old pod goes before every gateway knows the new one", "Deployment", ("spec", "minReadySeconds"),
          lambda value, _: value >= 15),
    Field("one more", "Deployment", ("spec", "strategy", "rollingUpdate", "maxSurge"), equal(1)),
    Field("none less", "Deployment", ("spec", "strategy", "rollingUpdate", "maxUnavailable"), equal(0)),
    Field("grace >= preStop + drain + 10", "Deployment", (*POD, "terminationGracePeriodSeconds"),
          lambda value, thing: value >= PRE_STOP + DRAIN[component_of(thing)] + 10),
    Field("DNS 5 + resolve 5 + probe 1, and a node's cache", "Deployment",
          (*FIRST, "lifecycle", "preStop", "sleep", "seconds"), lambda value, _: value >= 15),
    Field("no token", "Deployment", (*POD, "automountServiceAccountToken"), equal(False)),
    Field("no token", "ServiceAccount", ("automountServiceAccountToken",), equal(False)),
    Field("an account of its own", "Deployment", (*POD, "serviceAccountName"),
          lambda value, thing: value == thing["metadata"]["name"]),
    Field("no variables of other Services", "Deployment", (*POD, "enableServiceLinks"), equal(False)),
    Field("not root", "Deployment", (*POD, "securityContext", "runAsNonRoot"), equal(True)),
    Field("user of the image", "Deployment", (*POD, "securityContext", "runAsUser"), equal(65532)),
    Field("group of the image", "Deployment", (*POD, "securityContext", "runAsGroup"), equal(65532)),
    Field("may read the weights", "Deployment", (*POD, "securityContext", "fsGroup"), equal(65532)),
    Field("system calls", "Deployment", (*POD, "securityContext", "seccompProfile", "type"),
          equal("RuntimeDefault")),
    Field("no escalation", "Deployment", (*POD, "containers", "*", "securityContext", "allowPrivilegeEscalation"),
          equal(False)),
    Field("read-only root", "Deployment", (*POD, "containers", "*", "securityContext", "readOnlyRootFilesystem"),
          equal(True)),
    Field("no capability", "Deployment", (*POD, "containers", "*", "securityContext", "capabilities", "drop"),
          equal(["ALL"])),
    *[Field("no escalation, read-only root, no capability", "Deployment",
            (*POD, "initContainers", "*", "securityContext", *key), equal(wanted), optional=True)
      for key, wanted in ((("allowPrivilegeEscalation",), False), (("readOnlyRootFilesystem",), True),
                          (("capabilities", "drop"), ["ALL"]))],
    Field("startup asks /readyz", "Deployment", (*FIRST, "startupProbe", "httpGet", "path"), equal("/readyz")),
    Field("on the metrics port", "Deployment", (*FIRST, "startupProbe", "httpGet", "port"), equal("metrics")),
    Field("every 5 s", "Deployment", (*FIRST, "startupProbe", "periodSeconds"), equal(5)),
    Field("liveness asks /livez", "Deployment", (*FIRST, "livenessProbe", "httpGet", "path"), equal("/livez")),
    Field("on the metrics port", "Deployment", (*FIRST, "livenessProbe", "httpGet", "port"), equal("metrics")),
    Field("every 10 s", "Deployment", (*FIRST, "livenessProbe", "periodSeconds"), equal(10)),
    Field("three times", "Deployment", (*FIRST, "livenessProbe", "failureThreshold"), equal(3)),
    Field("readiness asks /readyz", "Deployment", (*FIRST, "readinessProbe", "httpGet", "path"),
          equal("/readyz")),
    Field("on the metrics port", "Deployment", (*FIRST, "readinessProbe", "httpGet", "port"), equal("metrics")),
    Field("every 5 s", "Deployment", (*FIRST, "readinessProbe", "periodSeconds"), equal(5)),
    Field("twice", "Deployment", (*FIRST, "readinessProbe", "failureThreshold"), equal(2)),
    Field("spread, never required", "Deployment", (*POD, "topologySpreadConstraints", "*", "whenUnsatisfiable"),
          equal("ScheduleAnyway")),
    Field("over zones and nodes", "Deployment", (*POD, "topologySpreadConstraints"),
          lambda value, _: {each.get("topologyKey") for each in value} ==
          {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}),
    Field("a bound", "Deployment", (*POD, "containers", "*", "resources", "limits", "memory"),
          lambda value, _: value is not None),
    Field("memory is not overcommitted", "Deployment", (*POD, "containers", "*", "resources", "requests", "memory"),
          lambda value, _: value is not None),
    Field("the weights are read", "Deployment", (*FIRST, "volumeMounts", 0, "readOnly"), equal(True)),
    Field("room for spooled files, bounded", "Deployment", (*POD, "volumes", 1, "emptyDir", "sizeLimit"),
          equal("64Mi")),
    Field("one at a time", "PodDisruptionBudget", ("spec", "maxUnavailable"), equal(1)),
    Field("a broken pod blocks nobody", "PodDisruptionBudget", ("spec", "unhealthyPodEvictionPolicy"),
          equal("AlwaysAllow")),
    Field("pod addresses", "Service", ("spec", "clusterIP"), equal("None"),
          ["vl2-gateway-pods", "vl2-language", "vl2-language-all", "vl2-vision"]),
    Field("terminating pods too", "Service", ("spec", "publishNotReadyAddresses"), equal(True),
          ["vl2-language-all"]),
    Field("gRPC is told apart", "Service", ("spec", "ports", "*", "appProtocol"),
          lambda value, thing: value in ("http", "kubernetes.io/h2c")),
    Field("both ways", "NetworkPolicy", ("spec", "policyTypes"), equal(["Ingress", "Egress"])),
    Field("restricted pods only", "Namespace", ("metadata", "labels", "pod-security.kubernetes.io/enforce"),
          equal("restricted")),
]


# ---- relations ----

def by_kind(things, kind):
    return [thing for thing in things if thing["kind"] == kind]


def settings(things, component):
    """The values that a service's pods get from their ConfigMap."""
    deployment = next(each for each in by_kind(things, "Deployment") if component_of(each) == component)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    names = [each["configMapRef"]["name"] for each in container.get("envFrom", [])]
    values = {}
    for each in by_kind(things, "ConfigMap"):
        if each["metadata"]["name"] in names:
            values.update(each["data"])
    values.update({each["name"]: each.get("value", "") for each in container.get("env", [])})
    return deployment, container, values


def quantity(text):
    units = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi)?", str(text))
    return float(found[1]) * units.get(found[2], 1)


def flags_of(program):
    """Every flag of a service, from the sources."""
    text = ""
    for path in [os.path.join(tools.REPOSITORY, "gateway" if program == "gateway" else program, "main.cc"),
                 *glob.glob(os.path.join(tools.REPOSITORY, "runtime", "rpc", "*.cc"))]:
        with open(path) as file:
            text += file.read()
    return set(re.findall(r"ABSL_FLAG\(\s*[\w:<>]+(?:<[^>]*>)?,\s*(\w+),", text))


def settings_are_flags(name, things):
    for component, program in MAIN.items():
        flags = flags_of(program)
        _, _, values = settings(things, component)
        for key in values:
            if key.startswith("VL2_") and key[len("VL2_"):].lower() not in flags:
                yield "%s: %s is no flag of %s" % (component, key, program)


def ports_agree(name, things):
    for component, ports in PORTS.items():
        deployment, container, values = settings(things, component)
        if {each["name"]: each["containerPort"] for each in container.get("ports", [])} != ports:
            yield "%s: the container's ports are not %s" % (component, ports)
        listens = {"metrics": "VL2_METRICS_LISTEN", "http": "VL2_HTTP_LISTEN",
                   "grpc": "VL2_GRPC_LISTEN" if component == "gateway" else "VL2_LISTEN"}
        for port, number in ports.items():
            if not values.get(listens[port], "").endswith(":%d" % number):
                yield "%s: %s is not on port %d" % (component, listens[port], number)


def drains_agree(name, things):
    for component, seconds in DRAIN.items():
        _, _, values = settings(things, component)
        if values.get("VL2_DRAIN_TIMEOUT_MS") != str(1000 * seconds):
            yield "%s: VL2_DRAIN_TIMEOUT_MS is not %d" % (component, 1000 * seconds)
    _, _, values = settings(things, "gateway")
    if values.get("VL2_MAX_CONNECTION_AGE_MS") != "300000":
        yield "gateway: gRPC clients never move to new gateways"
    if not 0 < int(values.get("VL2_REQUEST_TIMEOUT_MS", 0)) <= 1000 * DRAIN["gateway"]:
        yield "gateway: a request may last longer than the drain"


def memory_suffices(name, things):
    weights = dict(zip(("language", "vision"), WEIGHTS[name]))
    needs = {"gateway": ["VL2_MAX_HELD_BODY_BYTES"] * 2, "language": ["VL2_CACHE_BYTES", "VL2_MAX_EMBEDDING_BYTES"],
             "vision": ["VL2_CACHE_BYTES", "VL2_TILE_CACHE_BYTES", "VL2_MAX_HELD_BYTES", "VL2_MAX_DECODING_BYTES"]}
    for component, keys in needs.items():
        _, container, values = settings(things, component)
        for key in keys:
            if key not in values:
                yield "%s: %s is not set" % (component, key)
                return
        need = weights.get(component, 0) + sum(int(values[key]) for key in keys) + GIB
        resources = container.get("resources", {})
        limit = resources.get("limits", {}).get("memory")
        if limit is None or quantity(limit) < need:
            yield "%s: memory %s is less than the %.1f GiB of its settings" % (component, limit, need / GIB)
        if "cpu" not in resources.get("requests", {}):
            yield "%s: no cores are requested, by which the HPA reckons" % component
        if limit != resources.get("requests", {}).get("memory"):
            yield "%s: memory requested and allowed differ" % component
        if component != "gateway" and (not resources.get("limits", {}).get("cpu") or
                                       resources["limits"]["cpu"] != resources["requests"].get("cpu")):
            yield "%s: its cores are not its own" % component


SERVICES = {"vl2-gateway": [("http", 8080), ("grpc", 50060)], "vl2-gateway-pods": [("grpc", 50060)],
            "vl2-language": [("grpc", 50061)], "vl2-language-all": [("grpc", 50061)], "vl2-vision": [("grpc", 50062)]}


def services_are_the_designs(name, things):
    found = {each["metadata"]["name"]: [(port.get("name"), port.get("port")) for port in each["spec"].get("ports", [])]
             for each in by_kind(things, "Service")}
    if found != SERVICES:
        yield "the Services are %s" % found


def startup_suffices(name, things):
    if settings(things, "gateway")[1].get("startupProbe", {}).get("failureThreshold", 0) < 12:
        yield "gateway: less than a minute to start"
    for component in ("language", "vision"):
        _, container, _ = settings(things, component)
        if container.get("startupProbe", {}).get("failureThreshold", 0) < STARTUP_PERIODS[name]:
            yield "%s: less than %d periods to start" % (component, STARTUP_PERIODS[name])


def names_are_complete(name, things):
    """With a dot at their end no search path is tried."""
    for component, keys in (("gateway", ("VL2_LM", "VL2_VISION")), ("vision", ("VL2_LM_ALLOW",))):
        _, _, values = settings(things, component)
        for key in keys:
            found = re.fullmatch(r"(vl2-[a-z-]+)\.\$\(POD_NAMESPACE\)\.svc\.cluster\.local\.:(\d+)",
                                 values.get(key, ""))
            if not found:
                yield "%s: %s is %r" % (component, key, values.get(key))
                continue
            service = next((each for each in by_kind(things, "Service")
                            if each["metadata"]["name"] == found[1]), None)
            if service is None or int(found[2]) not in [each["port"] for each in service["spec"]["ports"]]:
                yield "%s: no Service has what %s names" % (component, key)
    if "language-all" not in settings(things, "vision")[2].get("VL2_LM_ALLOW", ""):
        yield "vision: its allow-list forgets terminating pods"


def selectors_match(name, things):
    pods = {component_of(each): each["spec"]["template"]["metadata"].get("labels", {})
            for each in by_kind(things, "Deployment")}
    if set(pods) != set(PORTS):
        yield "the Deployments are %s" % sorted(pods)
    for thing in things:
        spec = thing.get("spec", {})
        selector = {"Service": lambda: spec.get("selector"),
                    "Deployment": lambda: spec.get("selector", {}).get("matchLabels"),
                    "PodDisruptionBudget": lambda: spec.get("selector", {}).get("matchLabels"),
                    "NetworkPolicy": lambda: spec.get("podSelector", {}).get("matchLabels")}.get(thing["kind"])
        if selector is None:
            continue
        wanted = selector() or {}
        label = "%s %s" % (thing["kind"], thing["metadata"]["name"])
        if not wanted:
            yield "%s selects every pod of the namespace" % label
        elif not any(wanted.items() <= labels.items() for labels in pods.values()):
            yield "%s selects no pod" % label
    for component in PORTS:
        for kind in ("PodDisruptionBudget", "ServiceAccount", "NetworkPolicy"):
            if not any(each["metadata"]["name"] == "vl2-" + component for each in by_kind(things, kind)):
                yield "%s has no %s" % (component, kind)


def only(component):
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/component": component}}}


# Who may open a connection to whom, and nobody else: a rule without peers is open to all.
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
DNS = ([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
         "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}], [(53, "TCP"), (53, "UDP")])
CONNECTIONS = {
    "gateway": ([(None, [(8080, "TCP"), (50060, "TCP")]), ([MONITORING], [(9060, "TCP")])],
                [([only("language")], [(50061, "TCP")]), ([only("vision")], [(50062, "TCP")]), DNS]),
    "language": ([([only("gateway"), only("vision")], [(50061, "TCP")]), ([MONITORING], [(9061, "TCP")])], []),
    "vision": ([([only("gateway")], [(50062, "TCP")]), ([MONITORING], [(9062, "TCP")])],
               [([only("language")], [(50061, "TCP")]), DNS]),
}


def connections_are_the_designs(name, things):
    """Default deny, and the design's list."""
    policies = {each["metadata"]["name"]: each["spec"] for each in by_kind(things, "NetworkPolicy")}
    if set(policies) != {"vl2-default-deny", *("vl2-" + component for component in CONNECTIONS)}:
        yield "the policies are %s" % sorted(policies)
    deny = policies.get("vl2-default-deny", {})
    if deny.get("ingress") or deny.get("egress"):
        yield "nothing denies what is not allowed"
    pods = [each["spec"]["template"]["metadata"].get("labels", {}) for each in by_kind(things, "Deployment")]
    denied = deny.get("podSelector", {}).get("matchLabels", {})
    if not all(denied.items() <= labels.items() for labels in pods):
        yield "what is not allowed is denied to some pods only"
    for component, directions in CONNECTIONS.items():
        spec = policies.get("vl2-" + component, {})
        if spec.get("podSelector") != only(component)["podSelector"]:
            yield "vl2-%s is for other pods" % component
        for (direction, word), wanted in zip((("ingress", "from"), ("egress", "to")), directions):
            found = [(rule.get(word),
                      sorted((port.get("port"), port.get("protocol")) for port in rule.get("ports", [])))
                     for rule in spec.get(direction, [])]
            if found != wanted:
                yield "%s: %s is %s; the design has %s" % (component, direction, found, wanted)


def settings_hold_together(name, things):
    names = set()
    for component in PORTS:
        _, container, values = settings(things, component)
        mounts = {each["name"]: each["mountPath"] for each in container.get("volumeMounts", [])}
        if values.get("VL2_MODEL") != mounts.get("models"):
            yield "%s: the model is not where the weights are mounted" % component
        if mounts.get("tmp") != "/tmp":
            yield "%s: nothing is mounted at /tmp" % component
        names.add(values.get("VL2_MODEL_NAME"))
        fields = {"POD_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"}
        env = {each["name"]: each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
               for each in container.get("env", [])}
        for variable in set(re.findall(r"\$\((\w+)\)", " ".join(values.values()))):
            if env.get(variable) != fields.get(variable):
                yield "%s: $(%s) is not the pod's" % (component, variable)
    if len(names) != 1 or None in names:
        yield "the services name the model differently: %s" % names
    vision = settings(things, "vision")[2]
    if not 0 < int(vision.get("VL2_MAX_REQUEST_DECODED_BYTES", 0)) <= int(vision.get("VL2_MAX_DECODING_BYTES", 0)):
        yield "vision: one request may decode more than all may"


def addresses_and_decoders_are_bounded(name, things):
    if settings(things, "language")[2].get("VL2_ADVERTISE") != "$(POD_IP):50061":
        yield "language: it does not tell the pod's own address"
    if settings(things, "vision")[2].get("VIPS_BLOCK_UNTRUSTED") != "1":
        yield "vision: libvips may use decoders that are not made for files of strangers"


def images_are_named(name, things):
    for thing in by_kind(things, "Deployment"):
        pod = thing["spec"]["template"]["spec"]
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            image = container.get("image", "")
            # A colon before the last slash belongs to a registry's port.
            if not re.search(r":\d[^/]*$|@sha256:[0-9a-f]{64}$", image):
                yield "%s: image %s has neither version nor digest" % (thing["metadata"]["name"], image)


RELATIONS = [services_are_the_designs, settings_are_flags, ports_agree, drains_agree, memory_suffices,
             startup_suffices, names_are_complete, selectors_match, connections_are_the_designs, settings_hold_together,
             addresses_and_decoders_are_bounded, images_are_named]

# What the relations assert, as paths: --mutate takes each away.
RELATED = [("ConfigMap", ("data", "**")), ("NetworkPolicy", ("spec", "podSelector", "matchLabels", "**")),
           ("NetworkPolicy", ("spec", "ingress", "**")), ("NetworkPolicy", ("spec", "egress", "**")),
           ("Deployment", (*FIRST, "env", "**")), ("Deployment", (*FIRST, "ports", "**")),
           ("Deployment", (*FIRST, "resources", "**")), ("Deployment", (*FIRST, "volumeMounts", "**")),
           ("Deployment", (*FIRST, "image")), ("Deployment", (*FIRST, "startupProbe", "failureThreshold")),
           ("Service", ("spec", "selector", "**"))]


def related_places(thing):
    """Every place at and below ** of each path."""
    def below(at, value):
        children = value.items() if isinstance(value, dict) else \
            enumerate(value) if isinstance(value, list) else []
        for key, child in children:
            yield (*at, key)
            yield from below((*at, key), child)

    for kind, path in RELATED:
        if thing["kind"] != kind:
            continue
        for at, value in lookup(thing, [key for key in path if key != "**"]):
            yield from below(at, value) if path[-1] == "**" else [at]


def check(name, things):
    errors = [error for thing in things for rule in FIELDS for error in rule.errors(thing)]
    for relation in RELATIONS:
        errors += relation(name, things)
    return errors


def metrics_in(text):
    return set(re.findall(r"\bvl2_[a-z_]+", text))


def exported():
    """Names of samples that the services export."""
    with open(os.path.join(tools.REPOSITORY, "deploy", "observe", "metrics.json")) as file:
        families = json.load(file)
    names = set()
    for family in families:
        names.add(family["name"])
        if family["type"] == "histogram":
            names |= {family["name"] + suffix for suffix in ("_bucket", "_sum", "_count")}
    return names


def observed():
    """deploy/observe/rules.yaml: {record: expression}, and the jobs whose absence raises an alert."""
    with open(os.path.join(tools.REPOSITORY, "deploy", "observe", "rules.yaml")) as file:
        found = [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
    jobs = {job for rule in found for job in re.findall(r'\bup\{job="([^"]+)"\}', rule["expr"])}
    return {rule["record"]: " ".join(rule["expr"].split()) for rule in found if "record" in rule}, jobs


# What KEDA asks for each service, beside the refusals that wake it.
KEDA_ASKS = {"vl2-language": {"vl2:language:active", "vl2:language:cache"}, "vl2-vision": {"vl2:vision:needed"}}
# 0 or 1, so that refusals wake one replica; how many are needed is for the others to say.
KEDA_WAKES = ('sum(rate(vl2_gateway_requests_total{code="unavailable"}[1m])) > bool 0', "1")


def autoscaled(name, things):
    """A count in the manifest would be set again by every apply, under the autoscaler's feet."""
    for thing in by_kind(things, "HorizontalPodAutoscaler") + by_kind(things, "ScaledObject"):
        target = thing["spec"]["scaleTargetRef"]["name"]
        for each in by_kind(things, "Deployment"):
            if each["metadata"]["name"] == target and "replicas" in each["spec"]:
                yield "%s: %s has a count of replicas, which an apply sets back" % (name, target)
    records, _ = observed()
    for thing in by_kind(things, "ScaledObject"):
        label = "%s: ScaledObject %s" % (name, thing["metadata"]["name"])
        asked = {" ".join(each["metadata"]["query"].split()): each["metadata"]["threshold"]
                 for each in thing["spec"]["triggers"]}
        if asked.pop(KEDA_WAKES[0], None) != KEDA_WAKES[1]:
            yield "%s: refusals do not wake exactly one replica" % label
        if set(asked) != {records[each] for each in KEDA_ASKS[thing["metadata"]["name"]]}:
            yield "%s does not ask what rules.yaml records: %s" % (label, sorted(asked))


def monitored(name, things):
    """The job that the alerts speak of is the one that the operator makes."""
    _, jobs = observed()
    for thing in by_kind(things, "PodMonitor"):
        label = thing["spec"].get("jobLabel")
        for each in by_kind(things, "Deployment"):
            job = each["spec"]["template"]["metadata"]["labels"].get(label)
            if {job} != jobs:
                yield "%s: %s is scraped as job %s, the alerts ask for %s" % (
                    name, each["metadata"]["name"], job, sorted(jobs))


def check_components(components):
    """Numbers of section 4, and that every metric that is used is exported."""
    known = exported()
    for name, things in components.items():
        yield from autoscaled(name, things)
        yield from monitored(name, things)
        if name == "tracing":
            yield from traced(things)
        for thing in things:
            unknown = metrics_in(json.dumps(thing.get("spec", {}))) - known
            if thing["kind"] in ("ScaledObject", "HorizontalPodAutoscaler", "PrometheusRule") and unknown:
                yield "%s: %s uses %s, which nothing exports" % (name, thing["metadata"]["name"], sorted(unknown))
            if thing["kind"] == "HorizontalPodAutoscaler":
                yield from scaling(thing["metadata"]["name"], thing["spec"].get("behavior", {}))
            if thing["kind"] == "ScaledObject":
                yield from scaling(thing["metadata"]["name"], thing["spec"].get("advanced", {}).get(
                    "horizontalPodAutoscalerConfig", {}).get("behavior", {}))


def traced(things):
    """All three services export, and may reach the collector and nothing else."""
    for component in PORTS:
        _, _, values = settings(things, component)
        port = re.fullmatch(r"http://[a-z.-]+\.:(\d+)", values.get("VL2_OTLP_ENDPOINT", ""))
        if port is None or port[1] != "4318" or "VL2_TRACE_RATIO" not in values:
            yield "tracing: %s does not export" % component
    yield from settings_are_flags("tracing", things)
    policies = [each["spec"] for each in by_kind(things, "NetworkPolicy") if each["metadata"]["name"] == "vl2-tracing"]
    wanted = {"podSelector": {"matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In",
                                                    "values": ["gateway", "language", "vision"]}]},
              "policyTypes": ["Egress"],
              "egress": [{"to": [{"namespaceSelector": {"matchLabels": {
                  "kubernetes.io/metadata.name": "observability"}}}], "ports": [{"port": 4318, "protocol": "TCP"}]},
                         {"to": DNS[0], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}]}
    if policies != [wanted]:
        yield "tracing: the way to the collector is %s" % policies


def scaling(name, behavior):
    up = [(each["type"], each["value"], each["periodSeconds"])
          for each in behavior.get("scaleUp", {}).get("policies", [])]
    down = behavior.get("scaleDown", {})
    if sorted(up) != [("Percent", 100, 15), ("Pods", 4, 15)]:
        yield "%s: scales up by %s" % (name, up)
    if down.get("stabilizationWindowSeconds") != 300 or \
            [(each["type"], each["value"], each["periodSeconds"]) for each in down.get("policies", [])] != \
            [("Pods", 1, 60)]:
        yield "%s: does not scale down by one pod a minute after five" % name
