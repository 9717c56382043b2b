"""A real Prometheus beside the pods: scrapes them, evaluates the rules, and is asked every panel's query."""
import http.client
import json
import os
import subprocess
import time
import urllib.parse

import network

OBSERVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "observe")
# What a run as short as this has no event for.
NEED_NO_DATA = {"Over a limit"}


class Prometheus:
    def __init__(self, folder, rules=os.path.join(OBSERVE, "rules.yaml"), interval="1s", others=()):
        """`others`: addresses of a second job, "others"."""
        self.folder = os.path.join(folder, "prometheus")
        os.makedirs(self.folder)
        self.targets = os.path.join(self.folder, "targets.json")
        self.space = network.Namespace("prometheus")
        self.write([])
        with open(os.path.join(self.folder, "prometheus.yaml"), "w") as file:
            file.write("global: {scrape_interval: %s, scrape_timeout: %s, evaluation_interval: %s}\n"
                       "rule_files: [%s]\nscrape_configs:\n  - job_name: vl2serve\n    file_sd_configs:\n"
                       "      - {files: [%s], refresh_interval: 1s}\n" % (
                           interval, interval, interval, rules, self.targets))
            if others:
                file.write("  - job_name: others\n    static_configs: [{targets: [%s]}]\n" % ", ".join(others))
        self.log = open(os.path.join(self.folder, "log"), "w")
        self.process = subprocess.Popen(self.space.command(
            "prometheus", "--config.file=" + os.path.join(self.folder, "prometheus.yaml"),
            "--storage.tsdb.path=" + os.path.join(self.folder, "data"),
            "--web.listen-address=0.0.0.0:9090"), stdout=self.log, stderr=self.log)

    def write(self, targets):
        """targets: [(address, pod's name)]."""
        told = [{"targets": [address], "labels": {"pod": name}} for address, name in targets]
        with open(self.targets + ".new", "w") as file:
            json.dump(told, file)
        os.replace(self.targets + ".new", self.targets)

    def ask(self, path, **parameters):
        connection = http.client.HTTPConnection(self.space.address, 9090, timeout=10)
        try:
            connection.request("GET", path + "?" + urllib.parse.urlencode(parameters))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def problems(self, seconds):
        """What does not work: panels without data over the last `seconds`, rules that do not evaluate, targets
        that cannot be scraped."""
        found = []
        with open(os.path.join(OBSERVE, "dashboard.json")) as file:
            panels = [each for each in json.load(file)["panels"] if each["type"] != "row"]
        now = time.time()
        for panel in panels:
            for target in panel["targets"]:
                told = self.ask("/api/v1/query_range", query=target["expr"], start=now - seconds, end=now, step=2)
                values = [value for series in told.get("data", {}).get("result", []) for _, value in series["values"]]
                if told["status"] != "success":
                    found.append("%s: %s" % (panel["title"], told["error"]))
                elif not any(value != "NaN" for value in values) and panel["title"] not in NEED_NO_DATA:
                    found.append("panel \"%s\" has no data: %s" % (panel["title"], target["expr"]))
        num_rules = 0
        for group in self.ask("/api/v1/rules")["data"]["groups"]:
            for rule in group["rules"]:
                num_rules += 1
                if rule["health"] != "ok":
                    found.append("rule %s: %s %s" % (rule["name"], rule["health"], rule.get("lastError", "")))
        if num_rules == 0 or not panels:
            found.append("no rule was evaluated, or there is no panel")
        return found

    def firing(self):
        """{(alert, severity)}."""
        return {(alert["labels"]["alertname"], alert["labels"]["severity"])
                for alert in self.ask("/api/v1/alerts")["data"]["alerts"] if alert["state"] == "firing"}

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
