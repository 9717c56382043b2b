"""The programs of a cluster, built from their Go modules at pinned versions: for deploy/check cluster.

`programs.py` builds those that are not there yet, which takes ten to thirty minutes on two cores. Each has a
module of its own that requires it, so that what one needs changes nothing of another.
"""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "quick"))
from tools import HOME, KUBERNETES  # noqa: E402

VERSION = KUBERNETES[0].split("@")[1]
# Kubernetes' own modules: its go.mod looks for them beside itself, where a module's zip does not have them.
STAGING = """api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider
cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api cri-client
cri-streaming csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator
kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission
sample-apiserver sample-cli-plugin sample-controller streaming""".split()
NAMED = "-X k8s.io/component-base/version.%s=%s"


class Program:
    def __init__(self, module, package, name, replaced=(), linked=""):
        self.module, self.package, self.name = module, package, name
        self.replaced, self.linked = replaced, linked

    @property
    def version(self):
        return self.module.split("@")[1]

    @property
    def path(self):
        return os.path.join(HOME, "bin", "%s-%s" % (self.name, self.version))

    def build(self):
        folder = os.path.join(HOME, "modules", self.module.split("@")[0].replace("/", "+"))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "go.mod"), "w") as file:
            file.write("module tools\n\ngo 1.26.0\n\nrequire %s %s\n" % tuple(self.module.split("@")))
            file.writelines("replace %s => %s %s\n" % each for each in self.replaced)
        command = ["go", "build", "-mod=mod", "-p", "2", "-trimpath",
                   "-ldflags", "-s -w " + self.linked, "-o", self.path + ".new", self.package]
        subprocess.run(["nice", *command], check=True, cwd=folder,
                       env={**os.environ, "GOFLAGS": "", "CGO_ENABLED": "0"})
        os.replace(self.path + ".new", self.path)


def kubernetes(name):
    major, minor, _ = VERSION.lstrip("v").split(".")
    own = [("k8s.io/" + each, "k8s.io/" + each, "v0" + VERSION[2:]) for each in STAGING]
    linked = " ".join(NAMED % each for each in (
        ("gitVersion", VERSION), ("gitMajor", major), ("gitMinor", minor)))
    return Program(KUBERNETES[0], "k8s.io/kubernetes/cmd/" + name, name, own, linked=linked)


ETCD = Program("go.etcd.io/etcd/server/v3@v3.6.16", "go.etcd.io/etcd/server/v3", "etcd")
APISERVER = kubernetes("kube-apiserver")
MANAGER = kubernetes("kube-controller-manager")
SCHEDULER = kubernetes("kube-scheduler")
ADAPTER = Program("sigs.k8s.io/prometheus-adapter@v0.12.0", "sigs.k8s.io/prometheus-adapter/cmd/adapter",
                  "prometheus-adapter")
ALL = (ETCD, APISERVER, MANAGER, SCHEDULER, ADAPTER)


def install(programs=ALL):
    if not shutil.which("go"):
        sys.exit("cluster: Go 1.26 or newer is needed, and is not there")
    os.makedirs(os.path.join(HOME, "bin"), exist_ok=True)
    for program in programs:
        if not os.path.exists(program.path):
            print("cluster: building %s" % program.path, flush=True)
            program.build()


if __name__ == "__main__":
    install([each for each in ALL if not sys.argv[1:] or each.name in sys.argv[1:]])
