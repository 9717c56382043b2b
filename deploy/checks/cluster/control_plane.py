"""etcd, the API server, the controllers and the scheduler as processes on the bridge's address."""
import os
import signal
import subprocess
import time

import network
import programs
from certificates import Certificates

PORT, ETCD_PORT = 6443, 2379


class ControlPlane:
    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        self.address = "https://%s:%d" % (network.NODE, PORT)
        self.certificates = Certificates(folder, network.NODE)

    def run(self, program, *flags, where=None, name=None):
        """Starts a program whose log is named like it."""
        name = name or program.name
        command = [program.path, *flags]
        with open(os.path.join(self.folder, name + ".log"), "w") as log:
            self.processes[name] = subprocess.Popen(where.command(*command) if where else command, stdout=log,
                                                    stderr=subprocess.STDOUT, cwd=self.folder)

    def wait(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError("%s ended with %s; its log is in %s" % (
                        name, process.returncode, self.folder))
            if time.monotonic() > deadline:
                raise AssertionError("after %g s: %s" % (seconds, what))
            time.sleep(0.2)

    def start(self, api):
        path = self.certificates.path
        etcd = "http://127.0.0.1:%d" % ETCD_PORT
        self.run(programs.ETCD, "--data-dir=" + os.path.join(self.folder, "etcd"), "--listen-client-urls=" + etcd,
                 "--advertise-client-urls=" + etcd, "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync")
        self.run(programs.APISERVER, "--etcd-servers=" + etcd, "--bind-address=0.0.0.0", "--secure-port=%d" % PORT,
                 "--advertise-address=" + network.NODE, "--authorization-mode=Node,RBAC",
                 # Else it refuses a privileged pod itself, and pod security has nothing to say.
                 "--allow-privileged=true",
                 "--tls-cert-file=" + path("apiserver.crt"), "--tls-private-key-file=" + path("apiserver.key"),
                 "--client-ca-file=" + path("ca.crt"), "--service-cluster-ip-range=10.96.0.0/16",
                 "--requestheader-client-ca-file=" + path("front-ca.crt"), "--requestheader-allowed-names=front",
                 "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
                 "--requestheader-extra-headers-prefix=X-Remote-Extra-", "--enable-aggregator-routing=true",
                 "--proxy-client-cert-file=" + path("front.crt"), "--proxy-client-key-file=" + path("front.key"),
                 "--service-account-issuer=https://kubernetes.default.svc",
                 "--service-account-key-file=" + path("accounts.key"),
                 "--service-account-signing-key-file=" + path("accounts.key"))
        self.wait(lambda: api.healthy("/readyz"), 90, "the API server is not ready")
        self.run(programs.MANAGER, "--kubeconfig=" + self.certificates.kubeconfig("manager", self.address),
                 "--use-service-account-credentials=true", "--root-ca-file=" + path("ca.crt"),
                 "--service-account-private-key-file=" + path("accounts.key"), "--leader-elect=false",
                 "--horizontal-pod-autoscaler-sync-period=2s", "--bind-address=127.0.0.1")
        self.run(programs.SCHEDULER, "--kubeconfig=" + self.certificates.kubeconfig("scheduler", self.address),
                 "--leader-elect=false", "--bind-address=127.0.0.1")

    def stop(self):
        """Those that were started last end first."""
        for process in reversed(list(self.processes.values())):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
