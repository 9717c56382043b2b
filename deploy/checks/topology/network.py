"""Network namespaces joined by a bridge, and packet rules in them.

Everything lies in a mount and a network namespace of this check's own (see enter()): nothing of it is
seen outside, and all of it goes when the last process does.
"""
import ctypes
import os
import subprocess
import sys

NODE = "10.88.0.1"  # the bridge: where the kubelet's probes come from
VIRTUAL = "10.96.0.10"  # the ClusterIP of the gateway's Service
ENTERED = "VL2_TOPOLOGY_ENTERED"


def enter():
    """Goes on in namespaces of its own, as root of them."""
    if os.environ.get(ENTERED):
        # They end with this process, which ends with its parent.
        ctypes.CDLL(None).prctl(1, 9)
        return
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.environ[ENTERED] = "1"
    os.execvp("unshare", ["unshare", *as_root, "--mount", "--net", "--pid", "--fork", "--kill-child",
                          "--mount-proc", sys.executable, *sys.argv])


def run(*command, **more):
    subprocess.run(command, check=True, **more)


class Namespace:
    """A pod's network: one interface, eth0, with an address of each family."""

    count = 0

    def __init__(self, name):
        Namespace.count += 1
        number = Namespace.count
        self.name = name
        self.address = "10.88.1.%d" % number
        self.address6 = "fd88::1:%x" % number
        self.path = "/run/netns/" + name
        run("ip", "netns", "add", name)
        run("ip", "link", "add", "veth%d" % number, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", "veth%d" % number, "master", "br0", "up")
        self.run("sh", "-c", "ip link set lo up; ip addr add %s/16 dev eth0;"
                 "ip -6 addr add %s/64 dev eth0 nodad; ip link set eth0 up; ip route add default via %s"
                 % (self.address, self.address6, NODE))

    def command(self, *command):
        return ["nsenter", "--net=" + self.path, *command]

    def run(self, *command, **more):
        run(*self.command(*command), **more)

    def rules(self, text):
        """Replaces packet rules: what `nft -f` reads."""
        self.run("nft", "-f", "-", input=text.encode())

    def remove(self):
        run("ip", "netns", "delete", self.name)


def build(folder):
    """The bridge, and the file that tells every process where its name server is."""
    os.makedirs("/run/netns", exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "addr", "add", NODE + "/16", "dev", "br0")
    run("ip", "link", "set", "br0", "up")
    resolv_conf = os.path.join(folder, "resolv.conf")
    with open(resolv_conf, "w") as file:
        file.write("nameserver %s\noptions timeout:5 attempts:2\n" % "10.88.1.1")
    run("mount", "--bind", resolv_conf, "/etc/resolv.conf")


def service_rules(addresses, port):
    """What kube-proxy writes: connections to the virtual address go to one of the pods."""
    head = "table ip proxy\ndelete table ip proxy\ntable ip proxy {\n"
    if not addresses:
        return head + "}\n"
    pods = ", ".join("%d : %s" % each for each in enumerate(addresses))
    chain = ("  chain output {\n    type nat hook output priority -100;\n"
             "    ip daddr %s tcp dport %s dnat to numgen random mod %d map { %s }\n  }\n")
    return head + "".join(chain.replace("output {", "output%d {" % p) % (VIRTUAL, p, len(addresses), pods)
                          for p in port) + "}\n"
