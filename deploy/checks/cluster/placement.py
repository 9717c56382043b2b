"""Where the scheduler puts pods."""
import collections

import overlays
from nodes import ZONES


def check(cluster):
    problems = overlays.apply(cluster.api, overlays.overlay("cpu-demo"))
    overlays.wait_ready(cluster)
    for component in ("gateway", "language", "vision"):
        overlays.scale(cluster, "vl2-" + component, len(ZONES))
    overlays.wait_ready(cluster)
    for component in ("gateway", "language", "vision"):
        placed = collections.Counter(each["spec"]["nodeName"] for each in overlays.pods(cluster.api, component))
        zones = collections.Counter(ZONES[node] for node in placed.elements())
        cluster.notes.append("%s: %s" % (component, dict(sorted(placed.items()))))
        if max(zones.values()) - min(zones.values()) > 1 or len(zones) != len(set(ZONES.values())):
            problems.append("%s is spread over zones as %s" % (component, dict(zones)))
        if len(placed) != len(ZONES):
            problems.append("%d pods of %s are on %d nodes" % (len(ZONES), component, len(placed)))
    gpu = [each for each in overlays.names("overlays") if each.startswith("gpu")]
    cluster.notes.append("not checked: GPU placement of %s" % ", ".join(gpu) if gpu else
                         "not checked: GPU placement, there is no GPU overlay")
    overlays.remove(cluster)
    return problems
