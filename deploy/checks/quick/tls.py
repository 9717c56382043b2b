"""What the component tls must hold: certificates, who they are for, and that the pods use them."""
import rules

GROUP = "cert-manager.io"
# What each service does with its certificate.
USES = {"gateway": ["client auth"], "language": ["server auth"], "vision": ["server auth", "client auth"]}
LEAF = {"duration": "2160h", "renewBefore": "720h",
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "issuerRef": {"name": "vl2-ca", "kind": "Issuer", "group": GROUP}}
WANTED = {
    ("Issuer", "vl2-root"): {"selfSigned": {}},
    ("Issuer", "vl2-ca"): {"ca": {"secretName": "vl2-ca"}},
    # The key stays: certificates from before a renewal must be believed after it.
    ("Certificate", "vl2-ca"): {
        "isCA": True, "commonName": "vl2serve", "secretName": "vl2-ca", "duration": "87600h", "renewBefore": "8760h",
        "privateKey": {**LEAF["privateKey"], "rotationPolicy": "Never"}, "usages": ["cert sign", "crl sign"],
        "issuerRef": {**LEAF["issuerRef"], "name": "vl2-root"}},
    **{("Certificate", "vl2-" + service): {
        **LEAF, "dnsNames": ["vl2-" + service], "secretName": "vl2-%s-tls" % service,
        "usages": ["digital signature", *uses]} for service, uses in USES.items()}}
MOUNTS = {"/tls": "tls", "/cas": "cas"}
SETTINGS = {"VL2_TLS_CERT": "/tls/tls.crt", "VL2_TLS_KEY": "/tls/tls.key", "VL2_TLS_CA": "/cas"}


def volumes(secret):
    """By their names. The authority's certificate comes with the service's own, others from a ConfigMap."""
    return {"tls": {"secret": {"secretName": secret, "defaultMode": 0o440}},
            "cas": {"projected": {"sources": [
                {"secret": {"name": secret, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"configMap": {"name": "vl2-more-cas", "optional": True}}]}}}


def check(things):
    found = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in things
             if each["apiVersion"].startswith(GROUP)}
    for key in sorted(set(found) | set(WANTED)):
        if found.get(key) != WANTED.get(key):
            yield "tls: %s %s is %s, not %s" % (*key, found.get(key), WANTED.get(key))
    for component in rules.PORTS:
        deployment, container, values = rules.settings(things, component)
        told = {key: value for key, value in values.items() if key.startswith("VL2_TLS_")}
        if told != SETTINGS:
            yield "tls: %s: the settings are %s" % (component, told)
        mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
        for path, volume in MOUNTS.items():
            if mounts.get(path) != {"name": volume, "mountPath": path, "readOnly": True}:
                yield "tls: %s: %s is mounted as %s" % (component, path, mounts.get(path))
        there = {each["name"]: {key: value for key, value in each.items() if key != "name"}
                 for each in deployment["spec"]["template"]["spec"]["volumes"]}
        for name, wanted in volumes(WANTED["Certificate", "vl2-" + component]["secretName"]).items():
            if there.get(name) != wanted:
                yield "tls: %s: the volume %s is %s" % (component, name, there.get(name))
    for error in rules.settings_are_flags("tls", things):
        yield "tls: " + error


def places(thing):
    """Every place of what is asserted above."""
    def below(at, value):
        yield at
        children = value.items() if isinstance(value, dict) else \
            enumerate(value) if isinstance(value, list) else []
        for key, child in children:
            yield from below((*at, key), child)

    if thing["apiVersion"].startswith(GROUP):
        yield from below(("spec",), thing["spec"])
    if thing["kind"] != "Deployment":
        return
    for path, ours in (((*rules.FIRST, "env"), lambda each: each["name"].startswith("VL2_TLS_")),
                       ((*rules.FIRST, "volumeMounts"), lambda each: each["name"] in MOUNTS.values()),
                       ((*rules.POD, "volumes"), lambda each: each["name"] in MOUNTS.values())):
        for at, each in rules.lookup(thing, (*path, "*")):
            if ours(each):
                yield from below(at, each)
