"""A client of the API server: strict server-side apply, and the warnings that come with answers.

May be used by several threads; each call has a connection of its own.
"""
import http.client
import json
import ssl
import urllib.parse

MANAGER = "check"


class Refused(Exception):
    def __init__(self, what, status, message):
        super().__init__("%s: %d %s" % (what, status, message))
        self.status, self.message = status, message


class Api:
    def __init__(self, address, certificates):
        self.host = urllib.parse.urlsplit(address).netloc
        self.tls = ssl.create_default_context(cafile=certificates.path("ca.crt"))
        self.tls.load_cert_chain(certificates.path("admin.crt"), certificates.path("admin.key"))
        self.kinds = {}

    def ask(self, method, path, body=None, media="application/json", **query):
        """What it answers, and its warnings."""
        connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=30)
        try:
            connection.request(method, path + ("?" + urllib.parse.urlencode(query) if query else ""),
                               None if body is None else json.dumps(body), {"Content-Type": media})
            response = connection.getresponse()
            text = response.read().decode()
            told = json.loads(text) if text.startswith("{") else {"message": text}
            if response.status >= 300:
                raise Refused("%s %s" % (method, path), response.status, told.get("message", text))
            return told, response.headers.get_all("Warning") or []
        finally:
            connection.close()

    def get(self, path, **query):
        return self.ask("GET", path, **query)[0]

    def items(self, path, **query):
        return self.get(path, **query)["items"]

    def healthy(self, path):
        try:
            self.ask("GET", path)
            return True
        except (OSError, Refused, http.client.HTTPException):
            return False

    def kind(self, version, kind):
        """(plural name, whether it lies in a namespace)."""
        if (version, kind) not in self.kinds:
            for each in self.get(self.prefix(version))["resources"]:
                if "/" not in each["name"]:
                    self.kinds[version, each["kind"]] = each["name"], each["namespaced"]
        return self.kinds[version, kind]

    @staticmethod
    def prefix(version):
        return ("/apis/" if "/" in version else "/api/") + version

    def path(self, thing):
        plural, namespaced = self.kind(thing["apiVersion"], thing["kind"])
        home = "/namespaces/" + thing["metadata"].get("namespace", "default") if namespaced else ""
        return "%s%s/%s/%s" % (self.prefix(thing["apiVersion"]), home, plural, thing["metadata"]["name"])

    def apply(self, thing, **more):
        """Warnings of a strict server-side apply."""
        return self.ask("PATCH", self.path(thing), thing, "application/apply-patch+yaml", fieldManager=MANAGER,
                        force="true", fieldValidation="Strict", **more)[1]

    def delete(self, path, **options):
        try:
            self.ask("DELETE", path, options or None)
        except Refused as refused:
            if refused.status != 404:
                raise

    def merge(self, path, body):
        return self.ask("PATCH", path, body, "application/merge-patch+json")[0]

    def status(self, path, status):
        return self.ask("PATCH", path + "/status", {"status": status}, "application/strategic-merge-patch+json")[0]
