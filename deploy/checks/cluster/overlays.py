"""Overlays and components rendered, applied strictly, and taken away again."""
import glob
import os
import subprocess
import sys
import tempfile

import api as api_module
import yaml
from nodes import NAMESPACE
from tools import REPOSITORY, kustomize

KUBERNETES = os.path.join(REPOSITORY, "deploy", "kubernetes")
CLAIM = os.path.join(KUBERNETES, "components", "weights-pvc", "claim.yaml")
# Namespaces first, since what lies in them is refused before; then what pods need before there are pods.
ORDER = ("Namespace", "ServiceAccount", "ConfigMap", "Secret", "PersistentVolumeClaim")


def names(folder):
    return sorted(os.path.basename(each) for each in glob.glob(os.path.join(KUBERNETES, folder, "*")))


def render(folder):
    done = subprocess.run([kustomize(), "build", folder], capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        sys.exit("cluster: %s does not render:\n%s" % (folder, done.stderr))
    things = [each for each in yaml.safe_load_all(done.stdout) if each]
    return sorted(things, key=lambda each: ORDER.index(each["kind"]) if each["kind"] in ORDER else len(ORDER))


def overlay(name):
    return render(os.path.join(KUBERNETES, "overlays", name))


def with_components(*components):
    """The overlay cpu-demo with these on it."""
    with tempfile.TemporaryDirectory(dir=KUBERNETES) as folder:
        with open(os.path.join(folder, "kustomization.yaml"), "w") as file:
            yaml.safe_dump({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                            "namespace": NAMESPACE,  # as an overlay has it, for what components add
                            "resources": ["../overlays/cpu-demo"],
                            "components": ["../components/" + each for each in components]}, file)
        return render(folder)


def apply(api, things, **more):
    """What the API server has against them: errors and warnings."""
    problems = []
    for thing in things:
        what = "%s/%s" % (thing["kind"], thing["metadata"]["name"])
        try:
            problems += ["%s: warning: %s" % (what, each) for each in api.apply(thing, **more)]
        except (api_module.Refused, KeyError) as refused:
            problems.append("%s: %s" % (what, refused))
    return problems


def volume():
    """What a claim of weights is bound to."""
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "weights"},
            "spec": {"capacity": {"storage": "80Gi"}, "accessModes": ["ReadWriteMany"],
                     "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "",
                     "hostPath": {"path": "/weights"}, "claimRef": {"namespace": NAMESPACE, "name": "vl2-weights"}}}


def remove(cluster):
    """Returns when the namespace is gone."""
    api = cluster.api
    api.delete("/api/v1/namespaces/" + NAMESPACE)
    cluster.wait(lambda: not any(each["metadata"]["name"] == NAMESPACE for each in api.items("/api/v1/namespaces")),
                 90, "the namespace %s does not end" % NAMESPACE)
    api.delete("/api/v1/persistentvolumes/weights")


def pods(api, component=None):
    selector = {"labelSelector": "app.kubernetes.io/component=" + component} if component else {}
    return [each for each in api.items("/api/v1/namespaces/%s/pods" % NAMESPACE, **selector)
            if not each["metadata"].get("deletionTimestamp")]


def ready(pod):
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


def deployments(api):
    return api.items("/apis/apps/v1/namespaces/%s/deployments" % NAMESPACE)


def replica_sets(api):
    return api.items("/apis/apps/v1/namespaces/%s/replicasets" % NAMESPACE)


def wait_ready(cluster, seconds=60):
    """Until every Deployment has all its pods ready."""
    def late():
        return ["%s: %d of %d ready" % (each["metadata"]["name"], each["status"].get("readyReplicas", 0),
                                        each["spec"]["replicas"]) for each in deployments(cluster.api)
                if each["status"].get("readyReplicas", 0) != each["spec"]["replicas"]
                or each["status"].get("observedGeneration") != each["metadata"]["generation"]]

    def why():
        failed = [condition["message"] for each in replica_sets(cluster.api)
                  for condition in each["status"].get("conditions", []) if condition["type"] == "ReplicaFailure"]
        waiting = [condition.get("message") for pod in pods(cluster.api)
                   for condition in pod["status"].get("conditions", []) if condition["status"] == "False"]
        return "%s; %s" % (late(), failed + waiting)
    cluster.wait(lambda: not late(), seconds, why)


def scale(cluster, name, count):
    cluster.api.merge("/apis/apps/v1/namespaces/%s/deployments/%s/scale" % (NAMESPACE, name),
                      {"spec": {"replicas": count}})
