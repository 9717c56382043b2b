"""The cluster's certificates, by openssl, valid for a day."""
import os
import subprocess


class Certificates:
    def __init__(self, folder, address):
        self.folder = os.path.join(folder, "pki")
        os.makedirs(self.folder)
        names = "IP:%s,IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc" % address
        self.authority("ca")
        self.issue("ca", "apiserver", "/CN=kube-apiserver", names)
        self.issue("ca", "admin", "/O=system:masters/CN=check")
        self.issue("ca", "manager", "/CN=system:kube-controller-manager")
        self.issue("ca", "scheduler", "/CN=system:kube-scheduler")
        # What the API server shows to APIs behind it.
        self.authority("front-ca")
        self.issue("front-ca", "front", "/CN=front")
        self.openssl("genrsa", "-out", self.path("accounts.key"), "2048")

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.folder)

    def authority(self, name):
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=" + name,
                     "-keyout", name + ".key", "-out", name + ".crt")

    def issue(self, authority, name, subject, names=""):
        with open(self.path(name + ".ext"), "w") as file:
            file.write("extendedKeyUsage=serverAuth,clientAuth\n")
            if names:
                file.write("subjectAltName=%s\n" % names)
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", name + ".key",
                     "-out", name + ".csr")
        self.openssl("x509", "-req", "-days", "1", "-in", name + ".csr", "-CA", authority + ".crt",
                     "-CAkey", authority + ".key", "-CAcreateserial", "-extfile", name + ".ext",
                     "-out", name + ".crt")

    def kubeconfig(self, name, server):
        """A file with which a program speaks as this certificate's owner."""
        path = self.path(name + ".kubeconfig")
        with open(path, "w") as file:
            file.write("apiVersion: v1\nkind: Config\ncurrent-context: it\n"
                       "clusters: [{name: it, cluster: {server: '%s', certificate-authority: %s}}]\n"
                       "users: [{name: it, user: {client-certificate: %s, client-key: %s}}]\n"
                       "contexts: [{name: it, context: {cluster: it, user: it}}]\n" % (
                           server, self.path("ca.crt"), self.path(name + ".crt"), self.path(name + ".key")))
        return path
