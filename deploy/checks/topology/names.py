"""The cluster's DNS: an authority that knows which pods are ready, and a cache in front of it, as on a
node. Answers are valid for five seconds."""
import os
import signal
import subprocess

import network

TTL = 5


class NameServer:
    DOMAIN = "vl2serve.svc.cluster.local"

    def __init__(self, folder):
        self.folder = folder
        self.hosts = os.path.join(folder, "hosts")
        self.last = None
        self.cache = network.Namespace("dns")  # the first one: its address stands in resolv.conf
        self.authority = network.Namespace("dns-authority")
        self.write({})
        self.processes = [
            self.start(self.authority, "--addn-hosts=" + self.hosts, "--local-ttl=%d" % TTL,
                       "--local=/cluster.local/"),
            self.start(self.cache, "--server=" + self.authority.address, "--cache-size=1000",
                       "--no-negcache")]

    def start(self, where, *flags):
        return subprocess.Popen(where.command(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
            "--pid-file=", "--user=root", "--group=root", "--log-facility=-",
            "--listen-address=" + where.address, "--bind-interfaces", *flags),
            stdout=open(os.path.join(self.folder, where.name + ".log"), "w"), stderr=subprocess.STDOUT)

    def name(self, service):
        """With the dot at its end: no search path is tried."""
        return "%s.%s." % (service, self.DOMAIN)

    def write(self, services):
        """services: {name: [Namespace]}."""
        lines = ["%s %s.%s\n" % (address, name, self.DOMAIN)
                 for name, pods in sorted(services.items()) for pod in pods
                 for address in (pod.address, pod.address6)]
        if lines == self.last:
            return
        self.last = lines
        with open(self.hosts, "w") as file:
            file.writelines(lines)
        if hasattr(self, "processes"):
            self.processes[0].send_signal(signal.SIGHUP)

    def silence(self, silent):
        """Questions are dropped, not refused: whoever asks waits."""
        text = "table inet silence\ndelete table inet silence\n"
        if silent:
            text += ("table inet silence {\n  chain input {\n    type filter hook input priority -10;\n"
                     "    udp dport 53 drop\n    tcp dport 53 drop\n  }\n}\n")
        self.cache.rules(text)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
