"""TLS between the services and in front of the gateway: who is let in, who may call what, and certificates
that change while requests run.

Usage: tls_test.py BIN_FOLDER [unittest flags]
"""
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from certificates import NAMES, Authority, Folder, Services  # noqa: E402
from cluster import CHECKPOINT, Cluster, Process, image_part, png_of, bytes_part, wait_for  # noqa: E402
import grpc_protos  # noqa: E402

BIN = sys.argv.pop(1)
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)
if grpc_protos.MISSING:
    print("SKIPPED: " + grpc_protos.MISSING)
    sys.exit(77)
from grpc_protos import (chat_pb2, chat_pb2_grpc, grpc, language_pb2, language_pb2_grpc,  # noqa: E402
                         model_pb2, vision_pb2, vision_pb2_grpc)

Code = grpc.StatusCode


def ask(*content, **more):
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return {"messages": [{"role": "user", "content": parts}], "temperature": 0, "ignore_eos": True,
            "max_tokens": 4, **more}


def start(folder, **more):
    services = Services(folder)
    flags = {name: services.flags(service) + more.pop(name, [])
             for name, service in (("gateway_flags", "gateway"), ("vision_flags", "vision"), ("lm_flags", "language"))}
    return services, Cluster(BIN, **flags, **more)


def code_of(call):
    """The code with which a call ends, and its message."""
    try:
        result = call()
        for _ in result if hasattr(result, "__next__") else ():
            pass
        return Code.OK, ""
    except grpc.RpcError as error:
        return error.code(), error.details()


def channel_to(address, roots, name, certificate=None):
    """As a service dials; `certificate`: (certificate, key), or none."""
    shown = {"certificate_chain": certificate[0].encode(), "private_key": certificate[1].encode()} if certificate else {}
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(roots.encode(), **shown),
                               [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)])


class CallersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="vl2-tls")
        cls.services, cls.cluster = start(cls.folder.name)
        cls.ours = cls.services.authority

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        cls.folder.cleanup()
        assert codes == [0, 0, 0], codes

    def dial(self, service, certificate=None, roots=None):
        process = {"language": self.cluster.lm, "vision": self.cluster.vision}[service][0]
        channel = channel_to(process.address, (roots or self.ours).text, NAMES[service], certificate)
        self.addCleanup(channel.close)
        return channel

    def language(self, *certificate):
        return language_pb2_grpc.LanguageServiceStub(self.dial("language", *certificate))

    def vision(self, *certificate):
        return vision_pb2_grpc.VisionServiceStub(self.dial("vision", *certificate))

    def info_code(self, stub):
        return code_of(lambda: stub.GetModelInfo(model_pb2.GetModelInfoRequest(), timeout=5))[0]

    def generate(self, stub):
        return code_of(lambda: stub.Generate(language_pb2.GenerateRequest(), timeout=5))

    def upload(self, stub):
        return code_of(lambda: stub.UploadEmbeddings(iter([language_pb2.UploadRequest()]), timeout=5))

    def encode(self, stub):
        return code_of(lambda: stub.Encode(iter([vision_pb2.EncodeRequest()]), timeout=5))

    def test_text_and_images_are_answered(self):
        for content in (["Hi"], [image_part("scene_640x480.png"), "What is it?"]):
            status, answer = self.cluster.chat(ask(*content))
            self.assertEqual((status, answer["usage"]["completion_tokens"]), (200, 4), answer)
        stub = chat_pb2_grpc.ChatServiceStub(grpc.insecure_channel(self.cluster.grpc))
        request = chat_pb2.ChatRequest(max_new_tokens=4)
        message = request.messages.add(role=chat_pb2.Message.ROLE_USER)
        message.parts.add().image.data = png_of(64, 64, 1)
        message.parts.add().text = "Hi"
        self.assertEqual(code_of(lambda: stub.Chat(request, timeout=60)), (Code.OK, ""))

    def test_strangers_and_plaintext_are_refused(self):
        stranger = Authority("a stranger")
        plain = grpc.insecure_channel(self.cluster.lm[0].address)
        self.addCleanup(plain.close)
        good = self.ours.issue(NAMES["gateway"])
        for service, stub in (("language", self.language), ("vision", self.vision)):
            self.assertEqual(self.info_code(stub(good)), Code.OK)
            self.assertEqual(self.info_code(stub(stranger.issue(NAMES["gateway"]))), Code.UNAVAILABLE)
            self.assertEqual(self.info_code(stub(self.ours.issue(NAMES["gateway"], days=-1))), Code.UNAVAILABLE)
            self.assertEqual(self.info_code(stub()), Code.UNAVAILABLE, "no certificate")
        self.assertEqual(self.info_code(language_pb2_grpc.LanguageServiceStub(plain)), Code.UNAVAILABLE)

    def test_any_of_our_certificates_may_ask_for_the_model_and_health(self):
        someone = self.ours.issue("someone-else")
        for service, stub in (("language", self.language), ("vision", self.vision)):
            self.assertEqual(self.info_code(stub(someone)), Code.OK)
            check = self.dial(service, someone).unary_unary("/grpc.health.v1.Health/Check")
            self.assertEqual(check(b"", timeout=5), b"\x08\x01", "SERVING")

    def test_calls_are_for_those_whose_part_they_are(self):
        gateway, vision = self.ours.issue(NAMES["gateway"]), self.ours.issue(NAMES["vision"])
        # With the right one a call gets as far as its contents, which are empty.
        self.assertNotEqual(self.generate(self.language(gateway))[0], Code.PERMISSION_DENIED)
        self.assertNotEqual(self.upload(self.language(vision))[0], Code.PERMISSION_DENIED)
        self.assertNotEqual(self.encode(self.vision(gateway))[0], Code.PERMISSION_DENIED)

        metric = "vl2_language_callers_refused_total"
        before = self.cluster.metric(self.cluster.lm[0], metric + '{call="Generate"')
        self.assertEqual(self.generate(self.language(vision)), (
            Code.PERMISSION_DENIED,
            "Generate needs the certificate of vl2-gateway, the caller has shown that of vl2-vision"))
        self.assertEqual(self.cluster.metric(self.cluster.lm[0], metric + '{call="Generate"'), before + 1)
        self.assertEqual(self.upload(self.language(gateway)), (
            Code.PERMISSION_DENIED,
            "UploadEmbeddings needs the certificate of vl2-vision, the caller has shown that of vl2-gateway"))
        self.assertGreater(self.cluster.metric(self.cluster.lm[0], metric + '{call="UploadEmbeddings"'), 0)
        self.assertEqual(self.encode(self.vision(vision))[0], Code.PERMISSION_DENIED)
        self.assertGreater(self.cluster.metric(self.cluster.vision[0], "vl2_vision_callers_refused_total"), 0)

    def test_a_name_counts_as_a_dns_name_only(self):
        for kind, name in (("email", "vl2-gateway"), ("URI", "vl2-gateway"), ("DNS", "vl2-gateway.example.org"),
                           ("DNS", "*")):
            certificate = self.ours.issue(name, kind=kind)
            self.assertEqual(self.generate(self.language(certificate))[0], Code.PERMISSION_DENIED, (kind, name))
        # Its common name is vl2-gateway, too.
        self.assertEqual(self.generate(self.language(self.ours.issue("vl2-gateway", kind="email")))[0],
                         Code.PERMISSION_DENIED)

    def test_a_gateway_knows_replicas_by_their_names(self):
        certificates = Folder(os.path.join(self.folder.name, "impostor"))
        certificates.write(*self.ours.issue(NAMES["vision"]), self.ours.text)
        impostor = self.cluster.start_lm(*certificates.flags())
        self.addCleanup(impostor.stop)
        flags = ["--model=" + CHECKPOINT, "--lm=" + impostor.address, "--vision=" + self.cluster.vision[0].address,
                 *("--%s_listen=127.0.0.1:0" % name for name in ("http", "grpc", "metrics"))]
        gateway = Process(os.path.join(BIN, "gateway"), *flags, *self.services.flags("gateway"))
        self.addCleanup(gateway.stop)
        states = 'vl2_gateway_replicas{service="%s",state="%s"'
        wait_for(lambda: self.cluster.metric(gateway, states % ("vision", "serving")) == 1, 20)
        channel = grpc.insecure_channel(gateway.fields[4])
        self.addCleanup(channel.close)
        stub = chat_pb2_grpc.ChatServiceStub(channel)

        def failure():
            info = stub.GetClusterInfo(chat_pb2.GetClusterInfoRequest(), timeout=5)
            text = info.language[0].failure if info.language else ""
            return "" if text == "not probed yet" else text
        self.assertIn("Hostname Verification Check failed", wait_for(failure, 20))
        self.assertEqual(self.cluster.metric(gateway, states % ("language", "serving")), 0)

    def test_reflection_is_off_unless_asked_for(self):
        list_services = b"\x3a\x00"
        path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        for flags, wanted in (((), Code.UNIMPLEMENTED), (("--reflection",), Code.OK)):
            lm = self.cluster.start_lm(*flags)
            self.addCleanup(lm.stop)
            with grpc.insecure_channel(lm.address) as channel:
                call = channel.stream_stream(path)
                self.assertEqual(code_of(lambda: call(iter([list_services]), timeout=5))[0], wanted)


class FilesTest(unittest.TestCase):
    """What is wrong with files, said at the start and, later, in the log."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="vl2-tls")
        self.addCleanup(self.folder.cleanup)
        self.ours = Authority()
        self.files = Folder(os.path.join(self.folder.name, "files"))

    def failure(self, *flags):
        command = [os.path.join(BIN, "lm_service"), "--model=" + CHECKPOINT, "--listen=127.0.0.1:0",
                   "--metrics_listen=127.0.0.1:0", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def test_flags_come_together(self):
        self.assertIn("--tls_key is needed", self.failure("--tls_cert=/x"))
        self.assertIn("--tls_cert is needed", self.failure("--tls_ca=/x"))
        self.assertIn("--tls_ca is needed", self.failure("--tls_cert=/x", "--tls_key=/x"))
        self.assertIn("--tls_refresh_ms 60001 is outside [1, 60000]", self.failure("--tls_refresh_ms=60001"))

    def test_bad_files_are_named(self):
        certificate, key = self.ours.issue("vl2-language")
        other_certificate, other_key = self.ours.issue("vl2-language")
        broken = certificate.replace(certificate[100:140], "?" * 40)
        for files, what in (
                ((certificate, other_key, self.ours.text), "tls.key: the key is not the certificate's"),
                (("", key, self.ours.text), "tls.crt: it holds no PEM certificate"),
                ((broken, key, self.ours.text), "tls.crt: it holds no PEM certificate"),
                ((certificate + broken, key, self.ours.text), "tls.crt: it holds a broken PEM certificate"),
                ((certificate, "nothing", self.ours.text), "tls.key: it holds no PEM key"),
                ((certificate, key, ""), "ca.crt: it holds no PEM certificate"),
                ((certificate, key, Authority("a stranger").text), "does not lead to a CA of --tls_ca"),
                ((*self.ours.issue("vl2-language", days=-1), self.ours.text), "tls.crt: the certificate expired at 20"),
                ((*self.ours.issue(), self.ours.text), "tls.crt: the certificate has no DNS name"),
                (("x" * ((1 << 20) + 1), key, self.ours.text), "it has more than 1048576 bytes")):
            self.files.write(*files)
            self.assertIn(what, self.failure(*self.files.flags()))
        self.files.write(certificate, key, self.ours.text)
        for name in ("cert", "key", "ca"):
            self.assertIn("--tls_%s /nowhere: it cannot be read" % name,
                          self.failure(*self.files.flags(), "--tls_%s=/nowhere" % name))
        self.assertIn("it is a folder", self.failure(*self.files.flags(), "--tls_cert=/tmp"))

    def test_a_folder_of_cas(self):
        cas = os.path.join(self.folder.name, "cas")
        os.mkdir(cas)
        self.files.write(*self.ours.issue("vl2-language"), "")
        flags = [*self.files.flags(ca=False), "--tls_ca=" + cas]
        self.assertIn("the folder has no *.crt and no *.pem", self.failure(*flags))
        for name, authority in (("a.crt", Authority("another")), ("b.pem", self.ours)):
            with open(os.path.join(cas, name), "w") as file:
                file.write(authority.text)
        lm = Process(os.path.join(BIN, "lm_service"), "--model=" + CHECKPOINT, "--listen=127.0.0.1:0",
                     "--metrics_listen=127.0.0.1:0", *flags)
        self.addCleanup(lm.stop)
        with channel_to(lm.address, self.ours.text, "vl2-language", self.ours.issue("any")) as channel:
            stub = language_pb2_grpc.LanguageServiceStub(channel)
            self.assertEqual(code_of(lambda: stub.GetModelInfo(model_pb2.GetModelInfoRequest(), timeout=5))[0],
                             Code.OK)


class RotationTest(unittest.TestCase):
    """Certificates that change while requests run."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="vl2-tls")
        cls.services, cls.cluster = start(cls.folder.name, num_lm=2)

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        cls.folder.cleanup()
        assert codes == [0] * 4, codes

    def served(self, process):
        """The certificate that a server shows, in PEM."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        host, port = process.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=5) as plain:
            with context.wrap_socket(plain) as wrapped:
                return ssl.DER_cert_to_PEM_cert(wrapped.getpeercert(binary_form=True))

    def logged(self, text):
        return [process.text().count(text) for process in self.cluster.processes()]

    def believed(self, process, service, authority):
        certificate = authority.issue("someone")
        roots = "".join(each.text for each in self.services.trusted)
        with channel_to(process.address, roots, NAMES[service], certificate) as channel:
            stub = language_pb2_grpc.LanguageServiceStub(channel)
            if service == "vision":
                stub = vision_pb2_grpc.VisionServiceStub(channel)
            return code_of(lambda: stub.GetModelInfo(model_pb2.GetModelInfoRequest(), timeout=5))[0] == Code.OK

    def rotate(self, change, distrusted=()):
        """Returns when every service uses what `change` has written."""
        read_before = self.logged("certificates were read again")
        change()
        wait_for(lambda: all(now > before for now, before in zip(
            self.logged("certificates were read again"), read_before)), 20, "not all have read their files again")
        read_at = time.monotonic()
        for process, service in ((self.cluster.lm[0], "language"), (self.cluster.lm[1], "language"),
                                 (self.cluster.vision[0], "vision")):
            with open(os.path.join(self.services.folders[service].path, "tls.crt")) as file:
                wanted = file.read()
            wait_for(lambda: self.served(process).strip() == wanted.strip(), 10, "an old certificate is shown")
            for authority in self.services.trusted:
                wait_for(lambda: self.believed(process, service, authority), 10, "a new CA is not believed")
            for authority in distrusted:
                wait_for(lambda: not self.believed(process, service, authority), 10, "an old CA is believed")
        # Nothing shows when gRPC in the gateway, a client here, has looked; it does so every second.
        time.sleep(max(0.0, read_at + 1.5 - time.monotonic()))

    def load(self, failures, stop):
        """Text and images, new ones each time, one after another."""
        number = 0
        while not stop.is_set():
            number += 1
            image = bytes_part(png_of(64, 64, 1000 * threading.get_ident() + number))
            status, answer = self.cluster.chat(ask(image, "Hi") if number % 2 else ask("Hi"))
            failures.append(None if status == 200 else answer)

    def test_a_new_authority_under_load(self):
        old, new = self.services.authority, Authority("the new one")
        results, stop = [], threading.Event()
        threads = [threading.Thread(target=self.load, args=(results, stop)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for change, distrusted in ((lambda: self.services.trust([old, new]), []),
                                       (lambda: self.services.issue(new, [old, new]), []),
                                       (lambda: self.services.trust([new]), [old])):
                self.rotate(change, distrusted)
                # A connection that is made now: what ran stays connected with the certificates of before.
                self.cluster.lm[0].kill()
                address = self.cluster.lm[0].address
                self.cluster.lm[0] = self.cluster.start_lm(*self.services.flags("language"), listen=address)
                serving = 'vl2_gateway_replicas{service="language",state="serving"'
                wait_for(lambda: self.cluster.metric(self.cluster.gateway, serving) == 2, 20, "it is not used again")
                so_far = len(results)
                wait_for(lambda: len(results) >= so_far + 20, 60, "no requests are answered")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.services.authority = new
        self.assertEqual([each for each in results if each is not None], [])
        self.assertGreater(len(results), 60)

    def test_broken_files_leave_the_old_in_use(self):
        lm, folder, ours = self.cluster.lm[1], self.services.folders["language"], self.services.authority
        good = [ours.issue("vl2-language") for _ in range(2)]
        folder.write(*good[0], ours.text)
        expiry = self.cluster.metric(lm, "vl2_certificate_expiry_seconds")
        wait_for(lambda: self.served(lm).strip() == good[0][0].strip(), 10)
        failed = "vl2_certificate_reloads_failed_total"
        for certificate, key, ca in ((good[1][0], good[0][1], ours.text), ("no certificate", good[1][1], "no CA"),
                                     (*ours.issue("vl2-language", days=-1), ours.text)):
            before, told = self.cluster.metric(lm, failed), lm.text().count("the certificates of before stay")
            folder.write(certificate, key, ca)
            # Twice, so that gRPC's turn would have come as well.
            wait_for(lambda: self.cluster.metric(lm, failed) >= before + 10, 20)
            self.assertEqual(lm.text().count("the certificates of before stay"), told + 1, "told once")
            self.assertEqual(self.served(lm).strip(), good[0][0].strip())
            self.assertAlmostEqual(self.cluster.metric(lm, "vl2_certificate_expiry_seconds"), expiry, delta=120)
            self.assertTrue(self.believed(lm, "language", ours))
        folder.write(*good[1], ours.text)
        wait_for(lambda: self.served(lm).strip() == good[1][0].strip(), 10)


class PublicTest(unittest.TestCase):
    """TLS of the gateway's own gRPC port, with and without TLS to the services."""

    def test_clients_need_no_certificate(self):
        with tempfile.TemporaryDirectory(prefix="vl2-tls") as folder:
            web = Authority("of the web")
            files = Folder(os.path.join(folder, "public"))
            files.write(*web.issue("localhost", "chat.example.org"))
            _, cluster = start(folder, gateway_flags=[*files.flags("public_tls", ca=False)])
            self.addCleanup(cluster.stop)
            request = chat_pb2.ChatRequest(max_new_tokens=4)
            request.messages.add(role=chat_pb2.Message.ROLE_USER).parts.add().text = "Hi"

            def chat(roots, name="chat.example.org"):
                with channel_to(cluster.grpc, roots, name) as channel:
                    return code_of(lambda: chat_pb2_grpc.ChatServiceStub(channel).Chat(request, timeout=10))[0]
            self.assertEqual(chat(web.text), Code.OK)
            self.assertEqual(chat(Authority("another").text), Code.UNAVAILABLE)
            self.assertEqual(chat(web.text, "example.com"), Code.UNAVAILABLE)
            with grpc.insecure_channel(cluster.grpc) as channel:
                stub = chat_pb2_grpc.ChatServiceStub(channel)
                self.assertEqual(code_of(lambda: stub.Chat(request, timeout=10))[0], Code.UNAVAILABLE)
            self.assertEqual(cluster.chat(ask("Hi"))[0], 200, "HTTP has none")
            self.assertEqual({each: cluster.metric(cluster.gateway, 'vl2_certificate_expiry_seconds{use="%s"' % each) > 0
                              for each in ("tls", "public_tls")}, {"tls": True, "public_tls": True})

            # The client vl2, with the CA in a file.
            roots = os.path.join(folder, "roots.pem")
            with open(roots, "w") as file:
                file.write(web.text)
            server = "localhost:" + cluster.grpc.rsplit(":", 1)[1]
            command = [os.path.join(BIN, "vl2"), "info", "--server", server]
            self.assertEqual(subprocess.run([*command, "--tls_ca", roots], capture_output=True).returncode, 0)
            self.assertEqual(subprocess.run(command, capture_output=True).returncode, 3)

            other = Authority("of the web, too")
            files.write(*other.issue("chat.example.org"))
            wait_for(lambda: chat(other.text) == Code.OK, 20, "the new certificate is not shown")


if __name__ == "__main__":
    unittest.main(verbosity=2)
