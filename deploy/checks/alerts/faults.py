"""One fault for each alert. A fault is made while its `with` lasts, and healed when it ends.

Those that need the clients come first; then the clients pause, so that the windows over an hour hold the
late first tokens alone.
"""
import contextlib
import signal
import time

import ask
import feeder
import threads
import tls

PAGE, TICKET = "page", "ticket"
# Packets between two pods, before every other rule.
CUT = ("table inet fault\ndelete table inet fault\ntable inet fault {\n  chain input {\n"
       "    type filter hook input priority -10;\n%s  }\n}\n")
HEALED = "table inet fault\ndelete table inet fault\n"


class Fault:
    def __init__(self, name, alerts, seconds, made):
        self.name, self.alerts, self.seconds = name, alerts, seconds
        self.made = contextlib.contextmanager(made)


@contextlib.contextmanager
def cut(pod, port, verdict, source=None):
    """What comes to this port, from one pod or from anyone."""
    match = [""] if source is None else ["ip saddr %s " % source.network.address,
                                         "ip6 saddr %s " % source.network.address6]
    pod.network.rules(CUT % "".join("    %stcp dport %d %s\n" % (each, port, verdict) for each in match))
    try:
        yield
    finally:
        pod.network.rules(HEALED)


def no_vision(run):
    run.cluster.kill(run.one("vision"))
    yield
    run.cluster.wait_ready([run.create("vision")])
    run.wait_known("vision", 1, 20)


def refused_uploads(run):
    with cut(run.one("language"), 50061, "reject with tcp reset", run.one("vision")):
        yield
    run.wait_known("language", 1, 20)


def replaced(run, component, *flags):
    """A replica with these flags, in place of the one there is."""
    old = run.one(component)
    new = run.create_with(component, *flags)
    run.delete_all([old])
    run.wait_known("language" if component == "gateway" else component, 1, 20)
    return new


def encoder(run):
    """The thread that encodes, found while it does."""
    run.load.pause()
    asked = ask.start(run.one("gateway"), 10, 1, image=(80, 20))
    found = threads.busiest(run.one("vision").process.pid, 0.4)
    wait_all(asked)
    return found


def engine(run):
    """The thread that steps, found while it decodes."""
    asked = ask.start(run.one("gateway"), 4, 300)
    found = threads.busiest(run.one("language").process.pid, 0.3)
    wait_all(asked)
    return found


def wait_all(asked, seconds=45):
    deadline = time.monotonic() + seconds
    for thread in asked:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            raise AssertionError("the fault's requests did not end within %g s" % seconds)


def decoding(run):
    language = run.one("language")
    run.cluster.wait(lambda: (language.metric("vl2_language_sequences", state="decode") or 0) > 0, 20,
                     "nothing is decoded")


def no_embeddings(run):
    """The encoder stands still, and language replicas wait a second for its embeddings."""
    replaced(run, "language", "--slot_wait_timeout_ms=1000")
    stopped = encoder(run)
    with threads.Slowed(stopped, 0):
        run.load.say(pause=False)
        yield
    run.load.pause()
    replaced(run, "language")


def slow_vision(run):
    """Pictures for an encoder whose every batch is interrupted several times, so that it knows how slow it is."""
    with threads.Slowed(encoder(run), 0.01):
        asked = ask.start(run.one("gateway"), 140, 1, image=(160, 20))
        yield
    wait_all(asked)


def full_cache(run):
    """Two sequences, each nearly as large as the cache; the engine stops when it is full."""
    language = replaced(run, "language", "--cache_tokens=3200")
    stepping = engine(run)
    asked = ask.start(run.one("gateway"), 2, 2900)

    def share():
        return (language.metric("vl2_language_cache_blocks", state="used") or 0) / language.metric(
            "vl2_language_cache_blocks", state="total")
    while True:
        run.cluster.wait(lambda: share() > 0.955, 30, lambda: "the cache is %.2f full" % share())
        with threads.Slowed(stepping, 0):
            if share() > 0.955:  # and not before it stopped alone
                yield
                break
    wait_all(asked)
    replaced(run, "language")


def flapping(run):
    """One of two language replicas hangs for a moment, again and again."""
    def scraped():
        """What Prometheus has seen: a change between two scrapes is none."""
        told = run.prometheus.ask("/api/v1/query",
                                  query='vl2_gateway_replicas{service="language",state="serving"}')
        return {int(each["value"][1]) for each in told["data"]["result"]}

    # It looks often enough to see it all within the window.
    replaced(run, "gateway", "--probe_interval_ms=50", "--probe_timeout_ms=150")
    other = run.create("language")
    run.cluster.wait_ready([other])
    run.wait_known("language", 2, 20)
    try:
        for _ in range(6):
            other.process.send_signal(signal.SIGSTOP)
            run.cluster.wait(lambda: scraped() == {1}, 20, lambda: "with one that hangs %s count" % scraped())
            other.process.send_signal(signal.SIGCONT)
            run.cluster.wait(lambda: scraped() == {2}, 20, lambda: "with one that goes on %s count" % scraped())
        yield
    finally:
        other.process.send_signal(signal.SIGCONT)
    run.delete_all([other])
    replaced(run, "gateway")


def stalled(run):
    """The engine stands still in the middle of streams."""
    stepping = engine(run)
    asked = ask.start(run.one("gateway"), 2, 3000)
    decoding(run)
    with threads.Slowed(stepping, 0):
        yield
    wait_all(asked)


def draining(run):
    """A gateway is to end, and a stream does not: its engine stands still."""
    gateway = run.create_with("gateway", "--drain_timeout_ms=15000")
    stepping = engine(run)
    asked = ask.start(gateway, 1, 3000)
    decoding(run)
    with threads.Slowed(stepping, 0):
        gateway.process.send_signal(signal.SIGTERM)
        yield
    wait_all(asked)
    gateway.process.wait(30)
    run.cluster.forget(gateway)


def deaf(run):
    """Prometheus does not reach a pod's metrics, as when the NetworkPolicy from `monitoring` is missing."""
    with cut(run.one("vision"), 9062, "drop", run.prometheus_pod()):
        yield


def two_models(run):
    """Another model's replicas beside the one in use; and an autoscaler that has reached its end."""
    more = [run.create("language", run.next_model), run.create("vision", run.next_model)]
    run.cluster.wait_ready(more)
    run.feeder.values = feeder.AT_MAX
    yield
    run.feeder.values = feeder.CALM
    run.delete_all(more)


def expiring(run):
    """All services take up certificates of a day, as when those of 90 days have not been renewed."""
    services = run.certificates.services
    lives = services.days
    services.days = 1
    tls.renew(run, list(tls.NAMES), lambda only: services.issue(services.authority, only=only))
    yield
    services.days = lives
    tls.renew(run, list(tls.NAMES), lambda only: services.issue(services.authority, only=only))


def late(run):
    """All first tokens come eleven seconds late."""
    with threads.Slowed(engine(run), 0):
        asked = ask.start(run.one("gateway"), 24, 4)
        time.sleep(11)  # what the alert is about
    yield
    wait_all(asked)


def paused(made):
    """Without the clients."""
    def quietly(run):
        run.load.pause()
        yield from made(run)
    return quietly


FAULTS = [
    Fault("the only vision replica is gone", [("NoCompletePool", PAGE), ("RefusedShare", PAGE)], 30, no_vision),
    Fault("uploads to language are refused", [("UploadsFailing", PAGE)], 30, refused_uploads),
    Fault("the encoder's thread is stopped", [("SlotTimeouts", TICKET)], 40, no_embeddings),
    Fault("the encoder has 1% of the time", [("VisionBacklog", TICKET)], 110, slow_vision),
    Fault("sequences as large as the cache", [("CacheFull", TICKET)], 30, paused(full_cache)),
    Fault("language hangs again and again", [("ReplicaFlapping", TICKET)], 20, paused(flapping)),
    Fault("the engine's thread is stopped", [("EngineStalled", PAGE)], 30, paused(stalled)),
    Fault("a stream outlasts its gateway", [("DrainCut", TICKET)], 30, paused(draining)),
    Fault("a metrics port is closed", [("TargetDown", TICKET)], 30, paused(deaf)),
    Fault("two models; an HPA at its end", [("TwoPools", TICKET), ("AtMaxReplicas", TICKET)], 60, paused(two_models)),
    Fault("certificates end within a day", [("CertificateExpires", PAGE), ("CertificateExpires", TICKET)], 80,
          paused(expiring)),
    Fault("first tokens after 11 s", [("FirstTokenBudget", PAGE), ("FirstTokenBudget", TICKET)], 60, paused(late)),
]
