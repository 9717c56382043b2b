"""Pods, and what a cluster does to them: readiness, endpoints, rollouts, the steps of a deletion.

A pod is one service in a network namespace of its own. The kubelet's part and the controllers' part run
in one thread here (Cluster.tick): a pod is in its Services' addresses while its /readyz answers 200 and
it is not being deleted; deletion takes it out at once, waits as preStop does, sends SIGTERM, and after
the rest of the grace period SIGKILL.
"""
import http.client
import os
import signal
import subprocess
import threading
import time

import network
import policies

PORTS = {"gateway": (8080, 50060, 9060), "language": (50061, 9061), "vision": (50062, 9062)}
BINARIES = {"gateway": "gateway", "language": "lm_service", "vision": "vision_service"}


class Foreign:
    """A pod of the cluster's own, such as its name server."""

    gone = False

    def __init__(self, name, space, labels, namespace_labels):
        self.name, self.network, self.labels = name, space, labels
        self.namespace_labels = namespace_labels


class Pod:
    namespace_labels = None

    def __init__(self, cluster, name, component, model, command, cgroup=None):
        self.cluster, self.name, self.component, self.model = cluster, name, component, model
        self.labels = {**cluster.common_labels, "app.kubernetes.io/component": component}
        self.network = network.Namespace(name)
        self.command = [word.replace("{address}", self.network.address) for word in command]
        self.cgroup = cgroup
        self.gone = self.ready = self.was_ready = self.deleting = False
        self.ready_since = None
        self.failures = 0
        self.exit_code = None
        self.process = None

    def start(self):
        self.log_path = os.path.join(self.cluster.folder, self.name + ".log")
        into = []
        if self.cgroup:
            into = ["sh", "-c", 'echo 0 >"%s/cgroup.procs"; exec "$@"' % self.cgroup, "sh"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VL2_")}
        self.process = subprocess.Popen(self.network.command(*into, *self.command), env=environment,
                                        stdout=open(self.log_path, "w"), stderr=subprocess.STDOUT)
        self.started = time.monotonic()

    @property
    def metrics_port(self):
        return PORTS[self.component][-1]

    def get(self, path, timeout=1.0):
        """Status and text from the metrics port; 0 when it does not answer."""
        connection = http.client.HTTPConnection(self.network.address, self.metrics_port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metric(self, name, **labels):
        """Sum over the samples that have these labels; None when there is none."""
        found = None
        for line in self.get("/metrics")[1].splitlines():
            sample, _, value = line.rpartition(" ")
            family, _, rest = sample.partition("{")
            if family == name and all('%s="%s"' % each in rest for each in labels.items()):
                found = (found or 0.0) + float(value)
        return found

    def probe(self):
        if self.process.poll() is not None:
            self.exit_code, self.ready = self.process.returncode, False
            return
        readyz = self.get("/readyz")[0]
        if readyz == 200:
            self.failures = 0
            if not self.ready:
                self.ready_since = time.monotonic()
            self.ready = self.was_ready = True
        else:
            self.failures += 1
            if self.failures >= 2:
                self.ready = False

    def ready_for(self, seconds):
        return self.ready and time.monotonic() - self.ready_since >= seconds


class Cluster:
    PROBE_S = 0.5

    def __init__(self, folder, names, client, documents, common_labels, settings):
        self.folder, self.names, self.client, self.policies = folder, names, client, documents
        self.common_labels, self.settings = common_labels, settings
        self.pods, self.foreign, self.count = [], [], 0
        self.lock = threading.RLock()
        self.on_change = lambda pods: None
        self.changed = True
        self.endpoints = None
        self.last_alive = []
        self.stopping = threading.Event()
        self.trouble = []  # exits and logs that nobody asked for
        self.thread = threading.Thread(target=self.run, daemon=True)

    def pods_of(self, component, model=None):
        return [pod for pod in self.pods if pod.component == component and not pod.gone
                and model in (None, pod.model)]

    def create(self, component, model, command, cgroup=None):
        with self.lock:
            self.count += 1
            pod = Pod(self, "%s-%d" % (component, self.count), component, model, command, cgroup)
            self.pods.append(pod)
            # The rules are there before the process is, as a network plugin has them.
            policies.apply(self.policies, self.pods + self.foreign)
            pod.start()
        return pod

    def delete(self, pod):
        """Returns when the pod is gone."""
        grace = self.settings.grace[pod.component]
        with self.lock:
            pod.deleting, self.changed = True, True
            self.publish()
        deadline = time.monotonic() + grace
        time.sleep(self.settings.pre_stop)
        if pod.process.poll() is None:
            pod.process.send_signal(signal.SIGTERM)
        try:
            pod.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.trouble.append("%s did not end within its grace of %g s" % (pod.name, grace))
            pod.process.kill()
        self.forget(pod)
        if pod.exit_code != 0:
            self.trouble.append("%s ended with %s" % (pod.name, pod.exit_code))

    def kill(self, pod):
        pod.process.kill()
        self.forget(pod)

    def forget(self, pod):
        pod.exit_code = pod.process.wait()
        with self.lock:
            pod.gone, pod.ready = True, False
            self.publish()
            policies.apply(self.policies, self.pods + self.foreign)

    def publish(self):
        """Services' addresses: in DNS, and behind the gateway's virtual address."""
        alive = [pod for pod in self.pods if not pod.gone]
        if [pod.name for pod in alive] != self.last_alive:
            self.last_alive = [pod.name for pod in alive]
            self.on_change(alive)
        services = {"vl2-gateway-pods": [], "vl2-language": [], "vl2-vision": [], "vl2-language-all": []}
        for pod in alive:
            if pod.component == "language":
                services["vl2-language-all"].append(pod)
            if pod.ready and not pod.deleting:
                services[{"gateway": "vl2-gateway-pods"}.get(pod.component, "vl2-" + pod.component)].append(pod)
        self.names.write({name: [pod.network for pod in pods] for name, pods in services.items()})
        gateways = [pod.network.address for pod in services["vl2-gateway-pods"]]
        if gateways != self.endpoints:
            self.endpoints = gateways
            self.client.rules(network.service_rules(gateways, (8080, 50060)))

    def run(self):
        while not self.stopping.wait(self.PROBE_S):
            probes = [threading.Thread(target=pod.probe) for pod in self.pods if not pod.gone and pod.process]
            for probe in probes:
                probe.start()
            for probe in probes:
                probe.join()
            with self.lock:
                self.publish()

    def wait(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("after %g s: %s" % (seconds, what() if callable(what) else what))
            time.sleep(0.05)

    def wait_ready(self, pods, seconds=60):
        self.wait(lambda: all(pod.ready_for(self.settings.min_ready) for pod in pods), seconds,
                  lambda: "not ready: %s" % [pod.name for pod in pods if not pod.ready])

    def stop(self):
        self.stopping.set()
        self.thread.join()
        for pod in self.pods:
            if not pod.gone and pod.process:
                pod.process.kill()
                pod.process.wait()
