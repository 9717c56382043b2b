"""deploy/check images: the images, built without a daemon and run as a cluster runs them.

The base comes from Debian's packages (mmdebstrap, kept), the binaries from build/release, in place of the
Dockerfile's build stage; --full runs that stage too. Then all three services run with a read-only root,
as user 65532, without capabilities, with limits of memory and cores, and the demo's question is asked.
"""
import argparse
import base64
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "quick"))
import tools  # noqa: E402

BUDGETS_MB = {"gateway": 200, "language": 200, "vision": 400}
PROGRAMS = {"gateway": "gateway", "language": "lm_service", "vision": "vision_service"}
BASE = "localhost/vl2serve-base:bookworm"
STORE = os.path.join(tools.HOME, "containers")
MEMORY = {"gateway": 1 << 30, "language": 1 << 30, "vision": 2 << 30}


def buildah(*arguments, **more):
    return subprocess.run(["buildah", "--root", STORE, "--runroot", STORE + "-run", *arguments], check=True,
                          text=True, **more)


def output(*arguments):
    return buildah(*arguments, capture_output=True).stdout.strip()


def make_base():
    """Debian's smallest, without manuals and translations, as the slim images are."""
    if BASE in output("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return
    with tempfile.TemporaryDirectory() as folder:
        tar = os.path.join(folder, "base.tar")
        exclude = ["--dpkgopt=path-exclude=/usr/share/%s/*" % each for each in ("doc", "man", "locale")]
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", *exclude, "bookworm", tar], check=True)
        container = output("from", "scratch")
        buildah("add", "--quiet", container, tar, "/", stdout=subprocess.DEVNULL)
        buildah("commit", "--quiet", container, BASE, stdout=subprocess.DEVNULL)
        buildah("rm", container, stdout=subprocess.DEVNULL)


def build(full):
    with open(os.path.join(tools.REPOSITORY, "deploy", "images", "Dockerfile")) as file:
        text = file.read()
    with tempfile.TemporaryDirectory() as context:
        if full:
            context_folder = tools.REPOSITORY
        else:
            context_folder = context
            text, count = re.subn(r"# ---- build ----\n.*# ---- images ----\n",
                                  "FROM scratch AS build\nCOPY out /out\n", text, flags=re.DOTALL)
            assert count == 1, "the Dockerfile's build stage is not where it was"
            os.mkdir(os.path.join(context, "out"))
            for name in (*PROGRAMS.values(), "vl2"):
                subprocess.run(["strip", "-o", os.path.join(context, "out", name),
                                os.path.join(tools.REPOSITORY, "build", "release", "bin", name)], check=True)
            shutil.copytree(os.path.join(tools.REPOSITORY, "models", "demo"), os.path.join(context, "models", "demo"))
        dockerfile = os.path.join(context, "Dockerfile.check")
        with open(dockerfile, "w") as file:
            file.write(text)
        for target in (*PROGRAMS, "demo-weights"):
            done = subprocess.run(
                ["buildah", "--root", STORE, "--runroot", STORE + "-run", "bud", "--isolation", "chroot", "--layers",
                 "--pull-never", "--build-arg", "BASE=" + BASE, "-f", dockerfile, "--target", target,
                 "-t", "localhost/vl2serve/%s:check" % target, context_folder], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit("images: %s is not built:\n%s" % (target, (done.stdout + done.stderr)[-3000:]))


def megabytes(folder):
    done = subprocess.run(["du", "-sx", "--block-size=1000000", folder], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


class Container:
    """A service under runc, as the manifests run it."""

    def __init__(self, name, image, arguments, mounts=(), cores=None):
        self.name = "vl2-check-%d-%s" % (os.getpid(), name)
        self.container = output("from", "--pull-never", "localhost/vl2serve/%s:check" % image)
        self.root = output("mount", self.container)
        self.bundle = tempfile.mkdtemp(prefix="vl2-image-")
        subprocess.run(["runc", "spec"], cwd=self.bundle, check=True)
        with open(os.path.join(self.bundle, "config.json")) as file:
            spec = json.load(file)
        spec["root"] = {"path": self.root, "readonly": True}
        spec["process"].update(
            terminal=False, args=arguments, cwd="/", noNewPrivileges=True, user={"uid": 65532, "gid": 65532},
            capabilities={key: [] for key in ("bounding", "effective", "inheritable", "permitted", "ambient")})
        spec["mounts"] += [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
                            "options": ["nosuid", "nodev", "size=64m", "mode=1777"]}]
        spec["mounts"] += [{"destination": to, "type": "bind", "source": source, "options": ["bind", "ro"]}
                           for source, to in mounts]
        # The three talk over the machine's loopback here.
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "network"]
        resources = {"memory": {"limit": MEMORY[image]}}
        if cores:
            resources["cpu"] = {"quota": int(100000 * cores), "period": 100000}
        spec["linux"]["resources"] = resources
        spec["linux"].pop("seccomp", None)
        with open(os.path.join(self.bundle, "config.json"), "w") as file:
            json.dump(spec, file)
        self.log = open(os.path.join(self.bundle, "log"), "w+")
        self.process = subprocess.Popen(["runc", "run", "--bundle", self.bundle, self.name],
                                        stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def text(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def execute(self, *command):
        return subprocess.run(["runc", "exec", "--user", "65532:65532", self.name, *command], capture_output=True,
                              text=True)

    def stop(self):
        subprocess.run(["runc", "kill", self.name, "TERM"], capture_output=True)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            subprocess.run(["runc", "kill", self.name, "KILL"], capture_output=True)
            self.process.wait()
        subprocess.run(["runc", "delete", "--force", self.name], capture_output=True)
        buildah("rm", self.container, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.bundle, ignore_errors=True)
        return self.process.returncode


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def run(errors):
    weights = output("from", "--pull-never", "localhost/vl2serve/demo-weights:check")
    models = os.path.join(output("mount", weights), "weights")
    lm, lm_metrics, vision, vision_metrics, http_port, grpc_port, metrics = free_ports(7)
    at = "127.0.0.1:%d"
    containers = []
    try:
        containers.append(Container("language", "language", [
            "lm_service", "--model=/models", "--listen=" + at % lm, "--metrics_listen=" + at % lm_metrics,
            "--cache_bytes=%d" % (256 << 20)], [(models, "/models")], cores=0.5))
        containers.append(Container("vision", "vision", [
            "vision_service", "--model=/models", "--listen=" + at % vision,
            "--metrics_listen=" + at % vision_metrics], [(models, "/models")], cores=1))
        containers.append(Container("gateway", "gateway", [
            "gateway", "--model=/models", "--lm=" + at % lm, "--vision=" + at % vision,
            "--http_listen=" + at % http_port, "--grpc_listen=" + at % grpc_port, "--metrics_listen=" + at % metrics],
            [(models, "/models")]))
        deadline = time.monotonic() + 60
        while get(http_port, "/readyz/pools")[0] != 200:
            if time.monotonic() > deadline or any(each.process.poll() is not None for each in containers):
                errors.append("they do not get ready: " + "; ".join(each.text() for each in containers))
                return
            time.sleep(0.1)
        with open(os.path.join(tools.REPOSITORY, "models", "demo", "sample.png"), "rb") as file:
            image = base64.b64encode(file.read()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=120)
        connection.request("POST", "/v1/chat/completions", json.dumps({"temperature": 0, "max_tokens": 48, "messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + image}},
                {"type": "text", "text": "What shape is green?"}]}]}))
        answer = connection.getresponse().read().decode()
        text = json.loads(answer).get("choices", [{}])[0].get("message", {}).get("content", answer)
        print("the demo's answer: " + text)
        if "circle" not in text:
            errors.append("that is not the demo's answer")
        threads = re.search(r"^vl2_threads (\d+)$", get(lm_metrics, "/metrics")[1], re.MULTILINE)
        if not threads or threads[1] != "1":
            errors.append("half a core gives %s threads" % (threads and threads[1]))
        for container, (name, port) in zip(containers, (("lm_service", lm_metrics), ("vision_service", vision_metrics),
                                                        ("gateway", metrics))):
            probe = container.execute(name, "--probe=readyz", "--metrics_listen=" + at % port)
            if probe.returncode != 0:
                errors.append("%s --probe=readyz: %s" % (name, probe.stdout + probe.stderr))
            for path in ("/usr/local/bin/x", "/models/x", "/x"):
                if container.execute("touch", path).returncode == 0:
                    errors.append("%s may write %s" % (name, path))
            if container.execute("touch", "/tmp/x").returncode != 0:
                errors.append("%s may not write /tmp" % name)
    finally:
        codes = [each.stop() for each in reversed(containers)]
        buildah("rm", weights, stdout=subprocess.DEVNULL)
    if codes != [0, 0, 0]:
        errors.append("they ended with %s" % codes)


def main():
    parser = argparse.ArgumentParser(prog="deploy/check images", description=__doc__.split("\n\n")[0])
    parser.add_argument("--full", action="store_true", help="run the Dockerfile's build stage too")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("images: needs root (chroot, cgroups)")
    os.makedirs(STORE, exist_ok=True)
    begin = time.monotonic()
    make_base()
    build(arguments.full)
    print("built in %.0f s" % (time.monotonic() - begin))
    errors = []
    for name, budget in BUDGETS_MB.items():
        container = output("from", "--pull-never", "localhost/vl2serve/%s:check" % name)
        size = megabytes(output("mount", container))
        buildah("rm", container, stdout=subprocess.DEVNULL)
        print("%-8s %3d MB, the budget is %d MB" % (name, size, budget))
        if size > budget:
            errors.append("%s has %d MB, the budget is %d MB" % (name, size, budget))
    run(errors)
    for error in errors:
        print("FAILED " + error)
    print("not checked: a registry, seccomp (the cluster's own), %s" % (
        "nothing else" if arguments.full else "the Dockerfile's build stage (--full)"))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
