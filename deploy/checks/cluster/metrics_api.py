"""prometheus-adapter behind the API server: /apis/external.metrics.k8s.io, with deploy/observe/adapter.yaml."""
import base64
import os

import network
import programs
from watch import OBSERVE

NAMESPACE, NAME, PORT = "monitoring", "adapter", 6553
GROUP = "external.metrics.k8s.io"
SERVICE = {"name": NAME, "namespace": NAMESPACE}


def objects(authority):
    """A Service without pods, whose address is told by hand, and the API that it serves."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Service", "metadata": SERVICE,
         "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {**SERVICE, "labels": {"kubernetes.io/service-name": NAME}},
         "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
         "endpoints": [{"addresses": [network.NODE], "conditions": {"ready": True}}]},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1." + GROUP},
         "spec": {"group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                  "service": SERVICE, "caBundle": authority}},
    ]


def start(cluster, prometheus):
    """Runs until the control plane stops. Returns what is wrong with the objects."""
    plane = cluster.control_plane
    certificates, path = plane.certificates, plane.certificates.path
    certificates.issue("ca", NAME, "/O=system:masters/CN=" + NAME, "DNS:%s.%s.svc" % (NAME, NAMESPACE))
    kubeconfig = certificates.kubeconfig(NAME, plane.address)
    plane.run(programs.ADAPTER, "--prometheus-url=http://%s:9090" % prometheus.space.address,
              "--config=" + os.path.join(OBSERVE, "adapter.yaml"), "--secure-port=%d" % PORT,
              "--metrics-relist-interval=5s", "--tls-cert-file=" + path(NAME + ".crt"),
              "--tls-private-key-file=" + path(NAME + ".key"),
              *("--%s-kubeconfig=%s" % (each, kubeconfig) for each in ("lister", "authentication", "authorization")))
    with open(path("ca.crt"), "rb") as file:
        authority = base64.b64encode(file.read()).decode()
    problems = []
    for thing in objects(authority):
        problems += cluster.api.apply(thing)
    return problems


def value(cluster, namespace, metric):
    """What the autoscaler is told, or None."""
    found = cluster.api.items("/apis/%s/v1beta1/namespaces/%s/%s" % (GROUP, namespace, metric))
    return number(found[0]["value"]) if found else None


def number(text):
    """A Kubernetes quantity."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)
