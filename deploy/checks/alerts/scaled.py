"""rules.yaml with every duration divided."""
import re

import yaml

FACTOR = 60
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text):
    found = re.fullmatch(r"(\d+)([smh])", text)
    if not found:
        raise ValueError("duration %r: not a number and s, m or h" % text)
    return int(found[1]) * UNITS[found[2]]


def divided(text):
    return "%dms" % (1000 * seconds(text) // FACTOR)


def expression(text):
    return re.sub(r"\[([0-9a-z]+)\]", lambda found: "[%s]" % divided(found[1]), text)


def rules(text):
    """The scaled rules as YAML, and [(alert, severity)]."""
    told = yaml.safe_load(text)
    alerts = []
    for group in told["groups"]:
        for rule in group["rules"]:
            rule["expr"] = expression(rule["expr"])
            if "for" in rule:
                rule["for"] = divided(rule["for"])
            if "alert" in rule:
                alerts.append((rule["alert"], rule["labels"]["severity"]))
    return yaml.safe_dump(told), alerts
