"""Every overlay and component applied strictly, and its pods admitted under pod security `restricted`."""
import copy

import api as api_module
import definitions
import overlays
from nodes import NAMESPACE


def kinds(cluster):
    """The kinds that others add; their own definitions may warn, which is theirs."""
    things = definitions.definitions()
    problems = [each for each in overlays.apply(cluster.api, things) if ": warning: " not in each]
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    cluster.wait(lambda: all(definitions.established(each) for each in cluster.api.items(path)), 60,
                 "not every definition is established")
    cluster.notes.append("%d definitions of others' kinds" % len(things))
    return problems


def forbidden(cluster):
    """What admission had against pods that controllers made."""
    events = cluster.api.items("/api/v1/namespaces/%s/events" % NAMESPACE)
    return ["%s: %s" % (each["involvedObject"]["name"], each["message"]) for each in events
            if each["reason"] == "FailedCreate"]


def overlay(cluster, name):
    things = overlays.overlay(name)
    # An apply of the claim is the owner's own; a volume for it is the cluster's.
    problems = overlays.apply(cluster.api, things + [overlays.volume()])
    enforced = cluster.api.get("/api/v1/namespaces/" + NAMESPACE)["metadata"]["labels"].get(
        "pod-security.kubernetes.io/enforce")
    if enforced != "restricted":
        problems.append("pod security %s is enforced, not restricted" % enforced)
    try:
        overlays.wait_ready(cluster)
    except AssertionError as problem:
        problems.append(str(problem))
    problems += forbidden(cluster)
    pods = overlays.pods(cluster.api)
    if not pods:
        problems.append("there is no pod")
    cluster.notes.append("overlay %s: %d objects, %d pods admitted and placed, %d problems" % (
        name, len(things), len(pods), len(problems)))
    return ["overlay %s: %s" % (name, each) for each in problems]


def components(cluster):
    """Each component on cpu-demo, as a dry run: what the API server says to it, and to a pod of each template."""
    problems = []
    overlays.apply(cluster.api, overlays.overlay("cpu-demo"))
    for name in overlays.names("components"):
        if name == "weights-demo":  # cpu-demo has it
            continue
        found = overlays.apply(cluster.api, overlays.with_components(name), dryRun="All")
        cluster.notes.append("component %s: %d problems" % (name, len(found)))
        problems += ["component %s: %s" % (name, each) for each in found]
    return problems


def security(cluster):
    """A pod with more rights is refused, and one without any of the pods' own safeguards."""
    template = cluster.api.get("/apis/apps/v1/namespaces/%s/deployments/vl2-language" % NAMESPACE)["spec"]["template"]
    spec = copy.deepcopy(template["spec"])
    spec["serviceAccountName"] = "vl2-language"
    problems = []

    def refused(what, change):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger"}, "spec": copy.deepcopy(spec)}
        change(pod["spec"])
        try:
            cluster.api.ask("POST", "/api/v1/namespaces/%s/pods" % NAMESPACE, pod, dryRun="All")
            return False
        except api_module.Refused as told:
            if told.status != 403 or "PodSecurity" not in told.message:
                raise
            return True

    if refused("as it is", lambda changed: None):
        problems.append("a pod as the template has it is refused")
    changes = {
        "privileged": lambda changed: changed["containers"][0].update(
            securityContext={"privileged": True}),
        "the host's network": lambda changed: changed.update(hostNetwork=True),
        "a folder of the node": lambda changed: changed["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "as root": lambda changed: changed["securityContext"].update(runAsNonRoot=False, runAsUser=0),
        "without a seccomp profile": lambda changed: changed["securityContext"].pop("seccompProfile"),
        "all capabilities kept": lambda changed: changed["containers"][0]["securityContext"].pop("capabilities"),
    }
    problems += ["a pod is admitted: " + what for what, change in changes.items() if not refused(what, change)]
    cluster.notes.append("pod security restricted: %d kinds of pods refused" % len(changes))
    return problems


def check(cluster):
    problems = kinds(cluster)
    for name in overlays.names("overlays"):
        problems += overlay(cluster, name)
        overlays.remove(cluster)
    problems += components(cluster) + security(cluster)
    overlays.remove(cluster)
    return problems
