"""NetworkPolicies as packet rules of each pod's namespace.

Only what the manifests use: podSelector by matchLabels, from and to with podSelector,
namespaceSelector or ipBlock, ports by number. Anything else is an error, not ignored.
"""
import network

# Pods that are not of this application, by the labels that policies name them with.
DNS_LABELS = {"k8s-app": "kube-dns"}


def selects(selector, labels):
    unknown = set(selector) - {"matchLabels"}
    if unknown:
        raise ValueError("selector with %s" % sorted(unknown))
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def peers(entries, pods, namespaces):
    """Addresses that a from or to list names; None: everybody."""
    if not entries:
        return None
    found = []
    for entry in entries:
        unknown = set(entry) - {"podSelector", "namespaceSelector", "ipBlock"}
        if unknown:
            raise ValueError("peer with %s" % sorted(unknown))
        if "ipBlock" in entry:
            found.append(entry["ipBlock"]["cidr"])
            continue
        home = "namespaceSelector" not in entry
        for pod in pods:
            if home != (pod.namespace_labels is None):
                continue
            if not home and not selects(entry["namespaceSelector"], pod.namespace_labels):
                continue
            if selects(entry.get("podSelector", {}), pod.labels):
                found += [pod.network.address, pod.network.address6]
    return found


def matches(addresses, direction):
    """nft's words for these addresses, one line a family."""
    if addresses is None:
        return [""]
    word = "saddr" if direction == "ingress" else "daddr"
    lines = []
    for family, colon in (("ip", False), ("ip6", True)):
        some = [address for address in addresses if (":" in address) == colon]
        if some:
            lines.append("%s %s { %s } " % (family, word, ", ".join(some)))
    return lines


def ports(entries):
    if not entries:
        return [""]
    words = []
    for entry in entries:
        if not isinstance(entry.get("port"), int):
            raise ValueError("port %r is not a number" % (entry.get("port"),))
        words.append("%s dport %d " % (entry.get("protocol", "TCP").lower(), entry["port"]))
    return words


def chain(policies, pod, pods, direction):
    kind = direction.capitalize()
    mine = [policy["spec"] for policy in policies
            if selects(policy["spec"].get("podSelector", {}), pod.labels)
            and kind in policy["spec"].get("policyTypes", ["Ingress"])]
    hook = "input" if direction == "ingress" else "output"
    lines = ["  chain %s {" % hook,
             "    type filter hook %s priority 0; policy %s;" % (hook, "drop" if mine else "accept"),
             "    ct state established,related accept", "    meta l4proto icmpv6 accept",
             "    iifname lo accept" if hook == "input" else "    oifname lo accept"]
    if hook == "input":
        # The kubelet's probes always get in.
        lines.append("    ip saddr %s accept" % network.NODE)
    for spec in mine:
        for rule in spec.get(direction, []):
            who = peers(rule.get("from" if direction == "ingress" else "to"), pods, None)
            for match in matches(who, direction):
                for port in ports(rule.get("ports")):
                    lines.append("    %s%saccept" % (match, port))
    return lines + ["  }"]


def apply(policies, pods):
    for pod in pods:
        if pod.namespace_labels is not None or pod.gone:
            continue
        lines = ["table inet pod", "delete table inet pod", "table inet pod {"]
        for direction in ("ingress", "egress"):
            lines += chain(policies, pod, pods, direction)
        pod.network.rules("\n".join(lines + ["}"]) + "\n")
