"""Certificates for tests, made with the openssl tool, and folders of them that change as a Secret's do."""
import os
import shutil
import subprocess
import tempfile

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
NAMES = {"gateway": "vl2-gateway", "vision": "vl2-vision", "language": "vl2-language"}


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def read(path):
    with open(path) as file:
        return file.read()


class Authority:
    """A CA; `text` is its certificate."""

    def __init__(self, name="test CA", days=2):
        self.folder = tempfile.TemporaryDirectory(prefix="vl2-ca")
        self.path, self.key = os.path.join(self.folder.name, "ca.crt"), os.path.join(self.folder.name, "ca.key")
        openssl("req", "-x509", *KEY, "-keyout", self.key, "-out", self.path, "-subj", "/CN=" + name,
                "-days", str(days))
        self.text = read(self.path)

    def issue(self, *names, days=1, kind="DNS"):
        """(certificate, key) in PEM; of negative days: one that has expired."""
        with tempfile.TemporaryDirectory(prefix="vl2-issue") as folder:
            key, asked, made = (os.path.join(folder, name) for name in ("key", "asked", "made"))
            extensions = os.path.join(folder, "extensions")
            with open(extensions, "w") as file:
                file.write("basicConstraints=critical,CA:FALSE\n")
                if names:
                    file.write("subjectAltName=%s\n" % ",".join("%s:%s" % (kind, name) for name in names))
            openssl("req", "-new", *KEY, "-keyout", key, "-out", asked, "-subj", "/CN=" + (names or ("nobody",))[0])
            openssl("x509", "-req", "-in", asked, "-CA", self.path, "-CAkey", self.key, "-CAcreateserial",
                    "-extfile", extensions, "-days", str(days), "-out", made)
            return read(made), read(key)


class Folder:
    """tls.crt, tls.key and ca.crt, which change together, by a link, as in a mounted Secret."""

    def __init__(self, path):
        self.path, self.count = path, 0
        os.makedirs(path, exist_ok=True)
        for name in ("tls.crt", "tls.key", "ca.crt"):
            os.symlink(os.path.join("data", name), os.path.join(path, name))

    def write(self, certificate, key, ca=""):
        self.count += 1
        new = os.path.join(self.path, str(self.count))
        os.mkdir(new)
        for name, text in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca)):
            with open(os.path.join(new, name), "w") as file:
                file.write(text)
        os.symlink(str(self.count), os.path.join(self.path, "data.new"))
        os.replace(os.path.join(self.path, "data.new"), os.path.join(self.path, "data"))
        shutil.rmtree(os.path.join(self.path, str(self.count - 1)), ignore_errors=True)

    def flags(self, name="tls", ca=True):
        found = ["--%s_cert=%s/tls.crt" % (name, self.path), "--%s_key=%s/tls.key" % (name, self.path)]
        return found + (["--%s_ca=%s/ca.crt" % (name, self.path)] if ca else [])


class Services:
    """A folder for each service, with certificates of one CA."""

    def __init__(self, path, authority=None, days=1):
        self.days = days
        self.authority = authority or Authority()
        self.trusted = []
        self.folders = {service: Folder(os.path.join(path, service)) for service in NAMES}
        self.issue(self.authority)

    def issue(self, authority, trusted=None, only=tuple(NAMES)):
        """New certificates for all or some; `trusted`: the authorities whose certificates they believe."""
        self.trusted = trusted or [authority]
        for service in only:
            self.folders[service].write(*authority.issue(NAMES[service], days=self.days),
                                        "".join(each.text for each in self.trusted))

    def trust(self, authorities, only=tuple(NAMES)):
        """Other CAs beside the certificates of now."""
        self.trusted = authorities
        for folder in (self.folders[service] for service in only):
            folder.write(read(os.path.join(folder.path, "tls.crt")), read(os.path.join(folder.path, "tls.key")),
                         "".join(each.text for each in authorities))

    def flags(self, service, refresh_ms=200):
        return [*self.folders[service].flags(), "--tls_refresh_ms=%d" % refresh_ms]
