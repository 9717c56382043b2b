"""The autoscalers of components/hpa: numbers from a real Prometheus, through prometheus-adapter."""
import time

import api as api_module
import metrics_api
import network
import overlays
from needs import REQUESTED_PER_SECOND, TILES_PER_SECOND, Needs
from nodes import NAMESPACE
from watch import Prometheus

METRICS = ("vl2:vision:needed", "vl2:language:active", "vl2:language:cache", "vl2:gateway:streams")
HPA = "/apis/autoscaling/v2/namespaces/%s/horizontalpodautoscalers/" % NAMESPACE
# What is awaited before "nothing happens" is believed: several rounds of the autoscaler.
STILL_S = 12
# The period of the policy for the fall, and some: pods that came within it may go within it.
PERIOD_S = 65
# The window of 300 s is cut to this when the first fall is awaited.
WINDOW_S = 10


def replicas(cluster):
    return {each["metadata"]["name"]: each["spec"]["replicas"] for each in overlays.deployments(cluster.api)}


def told(cluster):
    """All metrics as the autoscaler gets them; {} while the API is not there."""
    try:
        return {metric: metrics_api.value(cluster, NAMESPACE, metric) for metric in METRICS}
    except (api_module.Refused, OSError):
        return {}


def wait_replicas(cluster, expected, seconds):
    def why():
        return "%s replicas, not %s; the autoscalers say %s" % (replicas(cluster), expected, [
            (each["metadata"]["name"], condition["message"]) for each in cluster.api.items(HPA.rstrip("/"))
            for condition in each["status"].get("conditions", []) if condition["status"] == "False"])
    cluster.wait(lambda: expected.items() <= replicas(cluster).items(), seconds, why)


def wait_told(cluster, expected):
    """Until the autoscaler's metrics are these, within a twentieth."""
    def near():
        got = told(cluster)
        return all(got.get(metric) is not None and abs(got[metric] - number) <= 0.05 * number
                   for metric, number in expected.items())
    cluster.wait(near, 60, lambda: "external metrics are %s, not %s" % (told(cluster), expected))


def grow(cluster, needs):
    """Up at once: 27 sequences of 8 for a replica, 2.5 encoders kept busy for 70%, 500 streams of 200."""
    needs.active, needs.streams = 27, 500
    needs.queued = 60 * (2.5 * TILES_PER_SECOND - REQUESTED_PER_SECOND)
    wait_told(cluster, {"vl2:vision:needed": 2.5, "vl2:language:active": 27, "vl2:gateway:streams": 500})
    expected = {"vl2-language": 4, "vl2-vision": 4, "vl2-gateway": 3}
    wait_replicas(cluster, expected, 40)
    cluster.notes.append("27 sequences, 2.5 encoders needed, 500 streams: %s" % expected)
    overlays.wait_ready(cluster)
    time.sleep(STILL_S)  # pods that are there change nothing of what is needed
    return [] if replicas(cluster) == expected else ["%s replicas, not still %s" % (replicas(cluster), expected)]


def full_cache(cluster, needs):
    """The fullest cache asks for more than the sequences do: 4 * 0.97 / 0.8."""
    needs.cache = 0.97
    wait_replicas(cluster, {"vl2-language": 5}, 30)
    needs.cache = 0.8  # as it should be: no reason to change
    cluster.notes.append("cache of the fullest replica 0.97 of 0.8: 5 language replicas")


def shrink(cluster, needs):
    """Down late and by one: not within the window; then one pod a minute."""
    needs.active, needs.cache, needs.queued = 1, 0.1, 0
    wait_told(cluster, {"vl2:language:active": 1, "vl2:language:cache": 0.1})
    before = replicas(cluster)
    time.sleep(PERIOD_S)
    if replicas(cluster) != before:
        return ["within the window of 300 s %s became %s" % (before, replicas(cluster))]
    names = ("vl2-language", "vl2-vision")
    for name in names:
        cluster.api.merge(HPA + name, {"spec": {"behavior": {"scaleDown": {
            "stabilizationWindowSeconds": WINDOW_S}}}})
    after = {name: before[name] - 1 for name in names}
    wait_replicas(cluster, after, 40)
    time.sleep(STILL_S)
    if not after.items() <= replicas(cluster).items():
        return ["in one minute more than one pod went: %s, then %s" % (before, replicas(cluster))]
    cluster.notes.append("fall of the need: nothing for %d s; with a window of %d s: %s, one pod in the minute" % (
        PERIOD_S, WINDOW_S, after))
    return []


def check(cluster):
    needs = Needs(network.NODE)
    prometheus = Prometheus(cluster.folder)
    try:
        prometheus.write([(needs.target, "services")])
        problems = metrics_api.start(cluster, prometheus)
        cluster.wait(lambda: len(told(cluster)) == len(METRICS) and None not in told(cluster).values(), 90,
                     lambda: "the API has %s" % told(cluster))
        problems += overlays.apply(cluster.api, overlays.with_components("hpa"))
        overlays.wait_ready(cluster)
        problems += grow(cluster, needs)
        full_cache(cluster, needs)
        problems += shrink(cluster, needs)
        overlays.remove(cluster)
        return problems
    finally:
        needs.stop()
        prometheus.stop()
