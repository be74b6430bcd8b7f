"""What a cluster's parties trust: an authority of its own, made by openssl."""

import os
import subprocess


def run(*command):
    """openssl says nothing where all is well."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Certificates:
    """Keys and certificates as files NAME.key and NAME.crt of a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.key("ca")
        run("openssl", "req", "-x509", "-new", "-key", self.path("ca.key"),
            "-subj", "/CN=qpsscale test authority", "-days", "2",
            "-out", self.path("ca.crt"))

    def path(self, name):
        """Of a file in the directory."""
        return os.path.join(self.directory, name)

    def key(self, name):
        """A private key, readable by its owner only."""
        path = self.path(name + ".key")
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout",
            "-out", path)
        return path

    def certificate(self, name, subject, alternatives=None):
        """For a server where alternatives are given, else for a client."""
        usage = "serverAuth" if alternatives else "clientAuth"
        extensions = f"extendedKeyUsage={usage}\n"
        if alternatives:
            extensions += f"subjectAltName={alternatives}\n"
        with open(self.path(name + ".ext"), "w", encoding="ascii") as file:
            file.write(extensions)
        self.key(name)
        run("openssl", "req", "-new", "-key", self.path(name + ".key"),
            "-subj", subject, "-out", self.path(name + ".csr"))
        run("openssl", "x509", "-req", "-in", self.path(name + ".csr"),
            "-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"),
            "-CAcreateserial", "-days", "2",
            "-extfile", self.path(name + ".ext"),
            "-out", self.path(name + ".crt"))
