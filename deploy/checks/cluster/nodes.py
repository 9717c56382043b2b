"""Nodes that are objects alone, kept ready, and what a kubelet tells the API server of their pods.

One thread renews the nodes' leases and moves pods on: one that was placed runs and is ready, one that is to
be deleted is gone. `hold` keeps what is placed from being ready.
"""
import datetime
import threading

import api as api_module

NAMESPACE = "vl2serve"
ZONES = {"node-a1": "zone-a", "node-a2": "zone-a", "node-b1": "zone-b", "node-b2": "zone-b"}
CAPACITY = {"cpu": "128", "memory": "512Gi", "pods": "110", "ephemeral-storage": "500Gi"}


def now(micro=False):
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S" + (".%fZ" if micro else "Z"))


class Nodes:
    PERIOD_S, LEASE_S = 0.5, 8

    def __init__(self, api):
        self.api = api
        self.hold = False
        self.troubles = []
        self.stopping = threading.Event()
        for name in ZONES:
            self.create(name)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def create(self, name):
        self.api.ask("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                                     "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": ZONES[name]}}})
        self.api.ask("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now(True)}})
        self.tell(name)

    def tell(self, name):
        self.api.status("/api/v1/nodes/" + name, {
            "capacity": CAPACITY, "allocatable": CAPACITY, "conditions": [
                {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kept so by the check",
                 "lastHeartbeatTime": now()}]})

    def run(self):
        rounds = 0
        while not self.stopping.wait(self.PERIOD_S):
            try:
                if rounds % int(self.LEASE_S / self.PERIOD_S) == 0:
                    for name in ZONES:
                        self.api.merge("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/" + name,
                                       {"spec": {"renewTime": now(True)}})
                        self.tell(name)
                for pod in self.api.items("/api/v1/pods"):
                    self.move(pod)
            except (OSError, api_module.Refused) as problem:
                self.troubles.append(str(problem))
            rounds += 1

    def move(self, pod):
        path = "/api/v1/namespaces/%s/pods/%s" % (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if not pod["spec"].get("nodeName"):
            return
        if pod["metadata"].get("deletionTimestamp"):
            self.api.delete(path, gracePeriodSeconds=0)
        elif pod["status"]["phase"] == "Pending" and not self.hold:
            self.mark(pod, True)

    def mark(self, pod, ready):
        told = "True" if ready else "False"
        status = {"phase": "Running", "startTime": now(), "conditions": [
            {"type": kind, "status": told, "lastTransitionTime": now()} for kind in ("ContainersReady", "Ready")],
            "containerStatuses": [
                {"name": each["name"], "image": each["image"], "imageID": "", "ready": ready, "started": ready,
                 "restartCount": 0, "state": {"running": {"startedAt": now()}}} for each in pod["spec"]["containers"]]}
        self.api.status("/api/v1/namespaces/%s/pods/%s" % (pod["metadata"]["namespace"], pod["metadata"]["name"]),
                        status)

    def stop(self):
        self.stopping.set()
        self.thread.join()
