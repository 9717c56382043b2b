"""What happens to the cluster while its clients ask, and what must be true of it.

Point is a rule of the services that a cluster needs; each has a named assertion here, and a way to
run without it (`--without`), on which the check must fail by that name.
"""
import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time

import network
import policies
import pods as pods_module
import tls
from names import NameServer
from watch import Prometheus

POINTS = {
    "allow-list": "vision sends embeddings to a language replica that DNS has just forgotten, or not told it yet",
    "two-models": "two models beside each other stop nothing, and gateways move when the new one is complete",
    "draining": "a replica that drains says so, is not picked, and still takes what its sequences need",
    "drain-deadline": "a gateway's streams end by themselves or, at the deadline, with an error and [DONE]",
    "metrics-first": "/livez answers 200 and /readyz 503 while the weights load",
    "threads": "threads == floor(quota)",
    "connection-age": "calls of an old gRPC channel reach a new gateway within the connection age",
    "names-apart": "replicas are probed while the name server is silent",
    "rotation": "certificates of another authority are taken up without a restart",
}
# How each point is taken away: flags of one service, after its usual ones; or, where no flag does it,
# the service as it was before (--previous_bin).
PREVIOUS = None
WITHOUT = {
    "allow-list": ("vision", ["--lm_allow_keep_ms=0"]),
    "two-models": ("gateway", PREVIOUS),
    "draining": ("language", ["--drain_timeout_ms=0"]),
    "drain-deadline": ("gateway", ["--drain_timeout_ms=0"]),
    "metrics-first": ("language", PREVIOUS),
    "threads": ("language", ["--threads=2"]),
    "connection-age": ("gateway", ["--max_connection_age_ms=0"]),
    "names-apart": ("gateway", PREVIOUS),
    "rotation": ("language", ["--tls_refresh_ms=60000"]),
}
# The events that show a point.
EVENTS_OF = {"allow-list": "scale", "two-models": "new model", "draining": "unannounced", "drain-deadline": "drain",
             "metrics-first": "scale up", "threads": "scale up", "connection-age": "scale up",
             "names-apart": "silent", "rotation": "new certificates"}


class Settings:
    """Seconds; what a cluster has in minutes is short here."""

    pre_stop = 3.0
    min_ready = 1.5
    drain = {"gateway": 6, "language": 4, "vision": 4}
    grace = {name: 3.0 + seconds + 10 for name, seconds in drain.items()}
    connection_age = 5


class Load:
    """The clients' process: what it was asked, and what came of it."""

    def __init__(self, where, api_key=""):
        self.results, self.streams, self.errors = [], {}, []
        self.expected = collections.defaultdict(set)  # by kind and number: every allowed text
        self.learning = True
        self.num_again = 0  # calls over gRPC whose connection their client had just been asked to leave
        self.all_done, self.paused = threading.Event(), threading.Event()
        load = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.py")
        self.process = subprocess.Popen(
            where.command(sys.executable, load, network.VIRTUAL, "8080", "50060"), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "CHECK_API_KEY": api_key}, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def say(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            event["at"] = time.monotonic()
            if "done" in event:
                key = event["done"].split("-")[1], event["number"]
                if event["ok"] and self.learning:
                    self.expected[key].add(event["text"])
                elif event["ok"] and event["text"] not in self.expected[key]:
                    event["ok"], event["error"] = False, "another text: %r" % event["text"][:80]
                self.results.append(event)
            elif "stream" in event:
                self.streams[event["stream"]] = event
            elif "all" in event:
                self.all_done.set()
            elif "again" in event:
                self.num_again += 1
            elif "paused" in event:
                self.paused.set()

    def ask_all(self):
        """Every question once; their answers are allowed from now on."""
        self.learning = True
        self.all_done.clear()
        self.say(all=True)
        if not self.all_done.wait(120):
            raise AssertionError("the clients did not get their answers within 120 s")
        self.learning = False

    def pause(self):
        self.paused.clear()
        self.say(pause=True)
        if not self.paused.wait(60):
            raise AssertionError("the clients' requests did not end within 60 s")

    def failed(self, since=0.0):
        return [event for event in self.results if not event["ok"] and event["at"] >= since]

    def stream(self, name, api, what, max_tokens):
        self.say(stream=name, api=api, what=what, max_tokens=max_tokens)

    def stop(self):
        self.say(stop=True)
        self.process.stdin.close()
        self.process.wait(90)
        self.thread.join()


class Scenario:
    def __init__(self, arguments, folder, documents, labels):
        self.arguments, self.folder = arguments, folder
        self.settings = Settings()
        self.assertions = {}
        self.weights = ""  # of pods that are created from now on
        self.times = []  # of events
        self.not_checked = []
        network.build(folder)
        self.names = NameServer(folder)
        self.client_space = network.Namespace("client")
        self.cluster = pods_module.Cluster(folder, self.names, self.client_space, documents, labels,
                                           self.settings)
        dns_home = {"kubernetes.io/metadata.name": "kube-system"}
        self.cluster.foreign = [pods_module.Foreign(space.name, space, policies.DNS_LABELS, dns_home)
                                for space in (self.names.cache, self.names.authority)]
        self.cluster.foreign.append(pods_module.Foreign("client", self.client_space, {"app": "client"},
                                                        {"kubernetes.io/metadata.name": "clients"}))
        self.certificates = self.make_certificates()
        self.cgroups = CpuQuotas()
        self.prometheus = self.make_prometheus()
        self.cluster.foreign.append(pods_module.Foreign("prometheus", self.prometheus.space, {"app": "prometheus"},
                                                        {"kubernetes.io/metadata.name": "monitoring"}))
        self.cluster.on_change = lambda pods: self.prometheus.write(
            [("%s:%d" % (pod.network.address, pod.metrics_port), pod.name) for pod in pods])

    def make_prometheus(self):
        return Prometheus(self.folder)

    def make_certificates(self):
        return tls.Certificates(self.folder) if self.arguments.tls else None

    # ---- pods ----

    def command(self, component, model, previous=False):
        binary = os.path.join(self.arguments.bin, pods_module.BINARIES[component])
        drain = "--drain_timeout_ms=%d" % (1000 * self.settings.drain[component])
        language = self.names.name("vl2-language") + ":50061"
        flags = {
            "language": ["--listen=[::]:50061", "--metrics_listen=0.0.0.0:9061", drain,
                         "--cache_bytes=%d" % (64 << 20), "--slot_wait_timeout_ms=5000"],
            "vision": ["--listen=[::]:50062", "--metrics_listen=0.0.0.0:9062", drain,
                       "--lm_allow=" + language, "--resolve_interval_ms=5000"],
            "gateway": ["--http_listen=0.0.0.0:8080", "--grpc_listen=0.0.0.0:50060",
                        "--metrics_listen=0.0.0.0:9060", drain, "--lm=" + language,
                        "--vision=" + self.names.name("vl2-vision") + ":50062",
                        "--resolve_interval_ms=1000", "--probe_interval_ms=300", "--probe_timeout_ms=700",
                        "--max_connection_age_ms=%d" % (1000 * self.settings.connection_age)],
        }[component]
        if self.weights and component != "gateway":
            flags = flags + ["--weights=" + self.weights]
        if self.certificates:
            flags += self.certificates.flags(component)
        service, change = WITHOUT.get(self.arguments.without, ("", []))
        if previous or (service == component and change is PREVIOUS):
            binary = os.path.join(self.arguments.previous_bin, pods_module.BINARIES[component])
            if component != "gateway":  # it has no name for itself on all addresses
                flags.append("--listen={address}:%d" % pods_module.PORTS[component][0])
        elif service == component:
            flags = flags + change
        if self.arguments.previous_bin:
            known = subprocess.run([binary, "--help"], capture_output=True, text=True).stdout
            flags = [flag for flag in flags if flag.split("=")[0] in known]
        return [binary, "--model=" + model, *flags]

    def create(self, component, model=None, quota=None, previous=False):
        model = model or self.model
        return self.cluster.create(component, model, self.command(component, model, previous),
                                   self.cgroups.make(component, quota))

    def one(self, component, model=None):
        return self.cluster.pods_of(component, model or self.model)[0]

    def delete_all(self, some):
        threads = [threading.Thread(target=self.cluster.delete, args=(pod,)) for pod in some]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def gateways_say(self, name, **labels):
        """The sum of a gauge for each gateway that is ready."""
        return [pod.metric(name, **labels) for pod in self.cluster.pods_of("gateway") if pod.ready]

    def counted(self, service):
        """Replicas that serve, as each gateway counts them."""
        found = self.gateways_say("vl2_gateway_replicas", service=service, state="serving")
        if None in found:  # one from before counts the addresses of both families, and has no states
            found = [value and value / 2 for value in self.gateways_say("vl2_gateway_replicas", service=service)]
        return found

    def wait_known(self, service, count, seconds):
        """Until every gateway counts so many replicas that serve."""
        self.cluster.wait(lambda: all(value == count for value in self.counted(service)), seconds,
                          lambda: "gateways count %s %s replicas that serve, not %d" % (
                              self.counted(service), service, count))

    # ---- assertions ----

    def check(self, point, ok, detail):
        before = self.assertions.get(point, (True, ""))
        if before[0]:
            self.assertions[point] = (bool(ok), detail)

    def event(self, name, call):
        begin, number = time.monotonic(), len(self.load.results)
        self.times.append((time.time(), name))
        error = ""
        try:
            call()
        except AssertionError as problem:
            error = str(problem)
            self.check(self.arguments.without or name, False, error)
        failed = self.load.failed(begin)
        print("%-44s %5.1f s  %4d requests, %d failed%s" % (
            name, time.monotonic() - begin, len(self.load.results) - number, len(failed),
            "; " + error if error else ""), flush=True)
        for event in failed[:3]:
            print("    %s, from %.1f to %.1f s of it: %s" % (
                event["done"], event["at"] - event["seconds"] - begin, event["at"] - begin, event["error"]))
        return not failed and not error

    # ---- events ----

    def start(self):
        self.model, self.next_model = self.arguments.model, self.arguments.next_model
        self.cluster.thread.start()
        self.load = Load(self.client_space)
        some = [self.create("language"), self.create("vision"), self.create("gateway")]
        self.cluster.wait_ready(some)
        self.wait_known("language", 1, 20)
        self.wait_known("vision", 1, 20)
        self.load.ask_all()
        if self.load.failed():
            raise AssertionError("before anything happened: %s" % self.load.failed()[0])
        self.load.say(start=self.arguments.clients, pause_s=0.12)

    def scale_up(self):
        """Each service from one replica to two; the language replica with half a core."""
        language = self.create("language", quota=0.5)
        # So slow that its loading can be watched.
        self.cgroups.limit(language, 0.03)
        seen, deadline = [], time.monotonic() + 20
        while (200, 200) not in seen and time.monotonic() < deadline:
            seen.append((language.get("/livez", 5)[0], language.get("/readyz", 5)[0]))
            if (200, 503) in seen:
                self.cgroups.limit(language, 0.5)
        self.check("metrics-first", (200, 503) in seen and not any(livez == 503 for livez, _ in seen),
                   "while it loaded, /livez and /readyz said %s" % sorted(set(seen)))
        self.cluster.wait_ready([language])
        threads = language.metric("vl2_threads")
        if self.cgroups.folder:
            self.check("threads", threads == 1, "half a core gives %s threads" % threads)
        else:
            self.not_checked.append("threads == floor(quota): no cgroup can be made here")
        vision = self.create("vision")
        gateway = self.create("gateway")
        self.cluster.wait_ready([vision, gateway])
        self.wait_known("language", 2, 20)
        calls_before = gateway.metric("vl2_gateway_requests_total", api="grpc") or 0
        age = self.settings.connection_age
        time.sleep(1.1 * age + 3)
        calls = (gateway.metric("vl2_gateway_requests_total", api="grpc") or 0) - calls_before
        self.check("connection-age", calls > 0,
                   "%d calls over gRPC at the new gateway within %.1f s" % (calls, 1.1 * age + 3))

    def scale_down(self):
        """The older replica of each service goes, with streams that run longer than its preStop."""
        old = self.one("language")
        for number, api in enumerate(("http", "grpc", "http", "grpc")):
            self.load.stream("down-%d" % number, api, "text" if number < 2 else "image", 3000)
        time.sleep(0.3)
        self.cgroups.limit(old, 0.1)
        self.delete_all([old])
        self.delete_all([self.one("vision"), self.one("gateway")])
        self.cgroups.limit(self.one("language"), None)
        self.end_streams("down-", 4)
        refused = sum(pod.metric("vl2_vision_peers_refused_total") or 0
                      for pod in self.cluster.pods_of("vision"))
        self.check("allow-list", refused == 0 and not self.refusals(),
                   "%d uploads were refused" % max(refused, len(self.refusals())))

    def end_unannounced(self):
        """SIGTERM to replicas that DNS still names, as when a node shuts down; streams run there."""
        old = [self.one("language"), self.one("vision")]
        new = [self.create("language"), self.create("vision")]
        self.cluster.wait_ready(new)
        self.wait_known("language", 2, 20)
        self.wait_known("vision", 2, 20)
        for pod in [old[0], new[0]]:
            self.cgroups.limit(pod, 0.3)
        for number, api in enumerate(("http", "grpc", "http", "grpc")):
            self.load.stream("told-%d" % number, api, "text" if number < 2 else "image", 3000)
        time.sleep(0.5)
        seen = 0
        for pod in old:
            pod.process.send_signal(signal.SIGTERM)
        while any(pod.process.poll() is None for pod in old):
            seen = max([seen, *(value or 0 for value in self.gateways_say(
                "vl2_gateway_replicas", service="language", state="draining"))])
            time.sleep(0.1)
        for pod in old:
            self.cluster.forget(pod)
        self.cgroups.limit(new[0], None)
        self.end_streams("told-", 4)
        self.check("draining", seen >= 1, "no gateway ever counted a draining replica")

    def refusals(self):
        return [line for pod in self.cluster.pods if pod.component in ("vision", "gateway")
                for line in open(pod.log_path, errors="replace") if "may not be sent" in line]

    def end_streams(self, prefix, count, fine=True):
        self.cluster.wait(lambda: sum(name.startswith(prefix) for name in self.load.streams) == count, 60,
                          lambda: "only %d of %d streams ended" % (
                              sum(name.startswith(prefix) for name in self.load.streams), count))
        bad = {name: event["error"] for name, event in self.load.streams.items()
               if name.startswith(prefix) and not event["ok"]}
        if fine and bad:
            raise AssertionError("streams failed: %s" % bad)
        return bad

    def drain(self):
        """A gateway goes while streams run: one that ends in time, then one that does not."""
        language = self.one("language")
        for stop_s, name in ((self.settings.pre_stop + 1.5, "short"), (None, "long")):
            old = self.one("gateway")
            if not stop_s:
                # What these ask would wait for the one that is stopped, and meet the deadline as well.
                self.load.pause()
            for api in ("http", "grpc"):
                self.load.stream("%s-%s" % (name, api), api, "text", 3000)
            time.sleep(0.25)
            # Nothing moves until it is let go on.
            language.process.send_signal(signal.SIGSTOP)
            begin = time.monotonic()
            try:
                new = self.create("gateway")
                deletion = threading.Thread(target=self.cluster.delete, args=(old,))
                self.cluster.wait(lambda: new.ready, 30, "the new gateway is not ready")
                deletion.start()
                if stop_s:
                    time.sleep(max(0.0, stop_s - (time.monotonic() - begin)))
                else:
                    deletion.join()
            finally:
                language.process.send_signal(signal.SIGCONT)
            deletion.join()
            self.load.say(pause=False)
            bad = self.end_streams(name, 2, fine=False)
            if stop_s:
                self.check("drain-deadline", not bad, "streams with time left were ended: %s" % bad)
            else:
                told = len(bad) == 2 and "[DONE] followed" in bad["long-http"] and \
                    "UNAVAILABLE" in bad["long-grpc"] and "shutting down" in bad["long-grpc"]
                self.check("drain-deadline", told, "at the deadline: %s" % bad)

    def roll(self):
        """Every pod is replaced: one more, then one less, all services at once."""
        old = [pod for pod in self.cluster.pods if not pod.gone]
        new = [self.create(pod.component) for pod in old]
        self.cluster.wait_ready(new)
        self.delete_all(old)

    def skew(self):
        """Each service alone goes back to the version before, and comes again."""
        for component in ("language", "vision", "gateway"):
            for previous in (True, False):
                old = self.cluster.pods_of(component)
                new = self.create(component, previous=previous)
                self.cluster.wait_ready([new])
                time.sleep(2)
                self.delete_all(old)

    def kill(self):
        """The node of a language and of a vision replica is gone."""
        new = [self.create("language"), self.create("vision")]
        self.cluster.wait_ready(new)
        self.wait_known("language", 2, 20)
        self.cluster.kill(self.one("language"))
        time.sleep(2)
        self.cluster.kill(self.one("vision"))
        time.sleep(2)

    def stop(self):
        """A language and a vision replica answer nothing for a while."""
        some = [self.one("language"), self.one("vision")]
        new = [self.create("language"), self.create("vision")]
        self.cluster.wait_ready(new)
        self.wait_known("language", 2, 20)
        self.wait_known("vision", 2, 20)
        for pod in some:
            pod.process.send_signal(signal.SIGSTOP)
            time.sleep(5)
            pod.process.send_signal(signal.SIGCONT)
        self.cluster.wait(lambda: all(pod.ready for pod in some), 20, "they did not come back")
        self.wait_known("language", 2, 20)

    def silence(self):
        """The name server says nothing; a language replica restarts meanwhile, at its address."""
        language = self.one("language")
        self.names.silence(True)
        begin = time.monotonic()
        try:
            time.sleep(7)  # the cache has nothing more to say
            language.process.kill()
            language.process.wait()
            language.was_ready, language.ready = False, False
            time.sleep(1)
            language.start()
            self.cluster.wait(lambda: language.ready, 20, "the restarted replica is not ready")
            try:
                self.wait_known("language", 2, 3)
                self.check("names-apart", True, "")
            except AssertionError as problem:
                self.check("names-apart", False, str(problem))
            time.sleep(max(0.0, 15 - (time.monotonic() - begin)))
        finally:
            self.names.silence(False)
        self.delete_all([language, self.one("vision")])

    def new_model(self):
        """Another model's pods beside the old ones; the old ones go when the gateways have moved."""
        begin = time.monotonic()
        old = [*self.cluster.pods_of("language"), *self.cluster.pods_of("vision")]
        language = self.create("language", self.next_model)
        self.cluster.wait_ready([language])
        time.sleep(3)  # an incomplete pool changes nothing
        vision = self.create("vision", self.next_model)
        self.cluster.wait_ready([vision])
        self.cluster.wait(lambda: all(value == 2 for value in self.gateways_say(
            "vl2_gateway_pools", state="complete")), 10, "gateways do not count two complete pools")
        self.load.learning = True  # both models' answers are right while both serve
        self.delete_all(old)
        self.model = self.next_model
        time.sleep(1)
        failed = self.load.failed(begin)
        self.load.expected.clear()
        self.load.ask_all()
        mixed = [key for key, texts in self.load.expected.items() if len(texts) != 1]
        time.sleep(2)
        self.check("two-models", not failed and not mixed and not self.load.failed(begin),
                   "%d requests failed, first: %s; answers of both models after the move: %s" % (
                       len(failed), failed[0]["error"] if failed else "-", mixed))

    def roll_weights(self):
        """The model services go from the weights as stored to weights as integers, one after the other."""
        begin = time.monotonic()
        self.weights = "int8"
        self.load.learning = True  # the answers of both are right while both serve
        for component in ("language", "vision"):
            old = self.cluster.pods_of(component)
            self.cluster.wait_ready([self.create(component)])
            self.wait_known(component, len(old) + 1, 20)
            time.sleep(2)
            self.delete_all(old)
        time.sleep(1)
        before, failed = dict(self.load.expected), self.load.failed(begin)
        self.load.expected.clear()
        self.load.ask_all()
        mixed = [key for key, texts in self.load.expected.items() if len(texts) != 1]
        changed = [key for key, texts in self.load.expected.items() if before[key] - texts]
        time.sleep(2)
        self.check("weights", changed and not failed and not mixed and not self.load.failed(begin),
                   "%d requests failed, first: %s; answers of both weights after the move: %s; questions whose answer "
                   "changed: %d" % (len(failed), failed[0]["error"] if failed else "-", mixed, len(changed)))

    def strangers(self):
        """Who has no certificate of ours, or another's, is refused; nobody else is."""
        problems = tls.refusals(self)
        self.check("strangers", not problems, "; ".join(problems))

    def new_certificates(self):
        """Another authority, whose certificates all services take up while they work."""
        tls.rotate(self)

    EVENTS = (("scale up: 1 to 2 of each", scale_up), ("scale down: 2 to 1 of each", scale_down),
              ("SIGTERM unannounced", end_unannounced),
              ("drain with open streams", drain), ("roll all pods", roll), ("kill -9", kill),
              ("SIGSTOP", stop), ("silent name server", silence),
              ("weights as stored to int8", roll_weights), ("a new model", new_model),
              ("strangers' certificates", strangers), ("new certificates", new_certificates))
    TLS_EVENTS = (strangers, new_certificates)

    def run(self):
        try:
            begin = time.monotonic()
            try:
                self.start()
            except AssertionError as problem:
                self.check(self.arguments.without or "start", False, str(problem))
                return self.report()
            print("%-44s %5.1f s" % ("start", time.monotonic() - begin))
            chosen = [each for each in self.EVENTS if not self.arguments.only or self.arguments.only in each[0]]
            if not self.certificates:
                chosen = [each for each in chosen if each[1] not in self.TLS_EVENTS]
                self.not_checked.append("certificates between the services: --tls")
            if self.arguments.previous_bin and not self.arguments.without:
                chosen = [("versions side by side", Scenario.skew)]
            for name, call in chosen:
                self.event(name, lambda call=call: call(self))
            if not self.arguments.only and not self.arguments.previous_bin:  # a part has not all the data
                problems = self.prometheus.problems(time.monotonic() - begin)
                self.check("observed", not problems, "; ".join(problems))
            if self.arguments.draw:
                import draw
                draw.draw(self.prometheus, time.time() - (time.monotonic() - begin), time.time(), self.times,
                          self.arguments.draw)
        finally:
            self.load.stop()
            self.prometheus.stop()
            self.cluster.stop()
            self.names.stop()
            self.cgroups.remove()
        return self.report()

    def report(self):
        for trouble in self.cluster.trouble:
            self.check("ends", False, trouble)
        failed, total = self.load.failed(), len(self.load.results)
        print("%d failed of %d" % (len(failed), total))
        if self.load.num_again:
            print("%d calls were made again: gRPC's client began them on a connection it had been asked to "
                  "leave" % self.load.num_again)
        for name, (ok, detail) in sorted(self.assertions.items()):
            print("%s %s%s" % ("ok    " if ok else "FAILED", name, "" if ok else ": " + detail))
        for what in self.not_checked:
            print("not checked: " + what)
        return not failed and all(ok for ok, _ in self.assertions.values())


class CpuQuotas:
    """cgroups with a share of a core, version 1 or 2, below the one that this process is in."""

    def __init__(self):
        self.made = {}
        self.folder, self.version = None, 0
        for version, base in ((1, "/sys/fs/cgroup/cpu"), (2, "/sys/fs/cgroup")):
            folder = os.path.join(base, "vl2-topology-%d-%d" % (os.getpid(), time.time_ns() % 1000000))
            try:
                os.mkdir(folder)
                self.folder, self.version = folder, version
                if version == 2 and not os.path.exists(os.path.join(folder, "cpu.max")):
                    raise OSError("no cpu controller")
                return
            except OSError:
                if self.folder:
                    os.rmdir(folder)
                self.folder = None

    def make(self, name, quota):
        if self.folder is None:
            return None
        folder = os.path.join(self.folder, "%s-%d" % (name, len(self.made)))
        os.mkdir(folder)
        self.made[folder] = None
        if self.version == 2:
            with open(os.path.join(self.folder, "cgroup.subtree_control"), "w") as file:
                file.write("+cpu")
        self.set(folder, quota)
        return folder

    def set(self, folder, quota):
        quota_us = -1 if quota is None else int(quota * 100000)
        name, text = ("cpu.cfs_quota_us", str(quota_us)) if self.version == 1 else (
            "cpu.max", "%s 100000" % ("max" if quota is None else quota_us))
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)

    def limit(self, pod, quota):
        if pod.cgroup:
            self.set(pod.cgroup, quota)

    def remove(self):
        time.sleep(0.2)
        for folder in [*self.made, self.folder]:
            try:
                os.rmdir(folder)
            except (OSError, TypeError):
                pass
