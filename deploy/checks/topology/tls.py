"""The services' certificates in the topology: who is let in, and how they change under load."""
import os
import subprocess
import sys
import time

import pods as pods_module

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "tests", "integration"))
from certificates import NAMES, Authority, Services  # noqa: E402

REFRESH_MS = 500
GRPC_LOOKS_S = 1  # at the files that a service has found good
GENERATE, UPLOAD, INFO = ("/vl2.v1.LanguageService/" + call
                          for call in ("Generate", "UploadEmbeddings", "GetModelInfo"))
ENCODE = "/vl2.v1.VisionService/Encode"


class Certificates:
    def __init__(self, folder, days=1):
        """`days`: how long the CA and the certificates are valid."""
        self.folder = os.path.join(folder, "certificates")
        self.services = Services(self.folder, Authority(days=days + 1), days)
        self.count = 0

    def flags(self, component):
        return self.services.flags(component, REFRESH_MS)

    def shown(self, certificate_and_key=()):
        """Files for callers.py: the CAs that are believed now, then what the caller shows."""
        self.count += 1
        paths = []
        for number, text in enumerate(("".join(each.text for each in self.services.trusted), *certificate_and_key)):
            paths.append(os.path.join(self.folder, "shown-%d-%d" % (self.count, number)))
            with open(paths[-1], "w") as file:
                file.write(text)
        return paths

    def call(self, caller, callee, method, files):
        """The code of one call from one pod's network to another pod."""
        address = "%s:%d" % (callee.network.address, pods_module.PORTS[callee.component][0])
        done = subprocess.run(
            caller.network.command(sys.executable, os.path.join(HERE, "callers.py"), address,
                                   NAMES[callee.component], method, *files),
            env={**os.environ, "GRPC_VERBOSITY": "NONE"}, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() or done.stderr[-200:]


def refusals(scenario):
    """What is not refused that should be, or the other way round, one line each."""
    certificates = scenario.certificates
    ours, stranger = certificates.services.authority, Authority("a stranger")
    gateway, vision, language = (scenario.cluster.pods_of(each)[0] for each in ("gateway", "vision", "language"))
    of = {name: certificates.shown(ours.issue(name)) for name in NAMES.values()}
    strangers = certificates.shown(stranger.issue("vl2-gateway"))
    found = []
    for what, caller, callee, method, files, good in (
            ("the gateway's on Generate", gateway, language, GENERATE, of["vl2-gateway"], "INVALID_ARGUMENT"),
            ("vision's on Generate", gateway, language, GENERATE, of["vl2-vision"], "PERMISSION_DENIED"),
            ("vision's on UploadEmbeddings", vision, language, UPLOAD, of["vl2-vision"], "INVALID_ARGUMENT"),
            ("the gateway's on UploadEmbeddings", vision, language, UPLOAD, of["vl2-gateway"], "PERMISSION_DENIED"),
            ("vision's on Encode", gateway, vision, ENCODE, of["vl2-vision"], "PERMISSION_DENIED"),
            ("language's on GetModelInfo", gateway, language, INFO, of["vl2-language"], "OK"),
            ("a stranger's", gateway, language, INFO, strangers, "UNAVAILABLE"),
            ("a stranger's", gateway, vision, ENCODE, strangers, "UNAVAILABLE"),
            ("none", gateway, language, INFO, certificates.shown(), "UNAVAILABLE"),
            ("no TLS", gateway, language, INFO, [], "UNAVAILABLE"),
            ("no TLS", gateway, vision, ENCODE, [], "UNAVAILABLE")):
        code = certificates.call(caller, callee, method, files)
        if code != good:
            found.append("%s at %s: %s, not %s" % (what, callee.component, code, good))
    counted = sum(pod.metric("vl2_%s_callers_refused_total" % pod.component) or 0 for pod in (language, vision))
    if counted < 3:
        found.append("only %d refusals are counted" % counted)
    return found


def renew(scenario, components, change):
    """Changes the files of some services' pods, and returns when these use them."""
    told = "certificates were read again"

    def counts():
        found = {}
        for pod in (pod for component in components for pod in scenario.cluster.pods_of(component)):
            with open(pod.log_path, errors="replace") as file:
                found[pod.name] = file.read().count(told)
        return found

    before = counts()
    change(components)
    scenario.cluster.wait(lambda: all(now > before.get(name, 0) for name, now in counts().items()), 20,
                          "not all pods have read their certificates again")
    time.sleep(GRPC_LOOKS_S + 0.5)


def replace(scenario, component):
    """A pod for another, whose connections are all new."""
    old = scenario.cluster.pods_of(component)[0]
    scenario.cluster.wait_ready([scenario.create(component)])
    scenario.wait_known(component, 2, 20)
    scenario.delete_all([old])


def rotate(scenario):
    """Another authority, in three steps. Nodes write files at different times: at each step language, which the
    others call, has its new ones later, and meanwhile one of its pods is replaced."""
    services = scenario.certificates.services
    old, new = services.authority, Authority("the next one")
    for change in (lambda only: services.trust([old, new], only), lambda only: services.issue(new, [old, new], only),
                   lambda only: services.trust([new], only)):
        renew(scenario, ["gateway", "vision"], change)
        replace(scenario, "language")
        renew(scenario, ["language"], change)
    replace(scenario, "vision")
    services.authority = new
    gateway, language = (scenario.cluster.pods_of(each)[0] for each in ("gateway", "language"))
    code = scenario.certificates.call(gateway, language, INFO,
                                      scenario.certificates.shown(old.issue("vl2-gateway")))
    scenario.check("rotation", code == "UNAVAILABLE", "a certificate of the old authority: " + code)
