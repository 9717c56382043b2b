"""A PodDisruptionBudget lets one pod of a service go at a time, and one that is not ready always."""
import api as api_module
import overlays
from nodes import NAMESPACE


def evict(cluster, pod):
    """The status of the answer."""
    name = pod["metadata"]["name"]
    try:
        cluster.api.ask("POST", "/api/v1/namespaces/%s/pods/%s/eviction" % (NAMESPACE, name), {
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}})
        return 201
    except api_module.Refused as refused:
        return refused.status


def allowed(cluster, name):
    return cluster.api.get("/apis/policy/v1/namespaces/%s/poddisruptionbudgets/%s" % (NAMESPACE, name))["status"].get(
        "disruptionsAllowed")


def one(cluster, component):
    problems, name = [], "vl2-" + component
    overlays.scale(cluster, name, 3)
    overlays.wait_ready(cluster)
    cluster.wait(lambda: allowed(cluster, name) == 1, 30, lambda: "%s: %s evictions are allowed, not 1" % (
        name, allowed(cluster, name)))
    first, second, third = overlays.pods(cluster.api, component)
    # What comes in its place is not ready, as while weights load.
    cluster.nodes.hold = True
    try:
        told = [evict(cluster, first), evict(cluster, second)]
        if told != [201, 429]:
            problems.append("%s: two evictions were answered %s, not [201, 429]" % (name, told))
        cluster.nodes.mark(third, False)
        cluster.wait(lambda: not all(overlays.ready(each) for each in overlays.pods(cluster.api, component)
                                     if each["metadata"]["name"] == third["metadata"]["name"]), 10, "it stays ready")
        unready = evict(cluster, third)
        if unready != 201:
            problems.append("%s: the eviction of a pod that is not ready was answered %d" % (name, unready))
        cluster.notes.append("%s: first eviction %d, second %d, one that is not ready %d" % (name, *told, unready))
    finally:
        cluster.nodes.hold = False
    overlays.wait_ready(cluster)
    return problems


def check(cluster):
    problems = overlays.apply(cluster.api, overlays.overlay("cpu-demo"))
    overlays.wait_ready(cluster)
    for component in ("gateway", "language", "vision"):
        problems += one(cluster, component)
    overlays.remove(cluster)
    return problems
