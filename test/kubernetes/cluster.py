#!/usr/bin/env python3
"""A real Kubernetes API server with etcd on the loopback interface, for tests.

Prints one line of JSON once it serves: where it is and where its authority's
certificate lies.  Ends on SIGTERM, and takes etcd and the API server along.

There are no controllers and no nodes: workloads.py plays them.  What a test
does as the cluster's administrator goes through a plain HTTP port, as with
"kubectl proxy"; that, and what no request of Kubernetes can do, is in proxy.py.
"""

import argparse
import ctypes
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading

sys.dont_write_bytecode = True      # the checkout stays as it is

from api import Api
from certificates import Certificates
from metrics import MetricsServer
from proxy import Proxy
from workloads import Workloads

START_SECONDS = 120                 # ready after 5 s on an idle machine
ISSUER = "https://kubernetes.default.svc"

# What one user asked for and what became of it, with the bodies of writes:
# service accounts are those who are tested.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Request",
               "userGroups": ["system:serviceaccounts", "clients"]},
              {"level": "Metadata", "users": ["system:anonymous"]},
              {"level": "None"}],
}


def free_port():
    """A port that nobody has at this moment."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def end_with_parent():
    """In a child: dies with us, however we die."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Cluster:
    """The two servers, and the files in a directory that they live on."""

    def __init__(self, directory, apiserver):
        self.directory = directory
        self.apiserver = apiserver
        self.children = {}
        self.orders = queue.Queue()
        self.port = free_port()
        self.etcd_port = free_port()
        self.certificates = Certificates(directory)
        self.certificates.certificate(
            "server", "/CN=kube-apiserver",
            "IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc")
        self.certificates.certificate(
            "admin", "/O=system:masters/CN=admin")
        self.certificates.certificate("front-proxy", "/CN=front-proxy")
        self.certificates.certificate(
            "metrics", "/CN=metrics-server",
            "DNS:metrics-server.kube-system.svc")
        self.certificates.key("service-accounts")
        self.metrics = MetricsServer(self.path("metrics.crt"),
                                     self.path("metrics.key"))
        with open(self.path("audit.json"), "w", encoding="ascii") as file:
            json.dump(AUDIT_POLICY, file)

    def path(self, name):
        """Of a file in the directory."""
        return os.path.join(self.directory, name)

    def child(self, name, *command):
        """Starts a server whose output goes to NAME.log."""
        with open(self.path(name + ".log"), "ab") as log:
            self.children[name] = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=end_with_parent)

    def start(self):
        """etcd, then the API server; returns when it is ready."""
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{free_port()}"
        self.child(
            "etcd", "etcd", "--data-dir", self.path("etcd"),
            "--log-outputs", "stderr", "--unsafe-no-fsync",
            "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", "default=" + peer)
        self.start_apiserver()
        api = self.admin()
        api.wait_ready(START_SECONDS, self.alive)
        return api

    def start_apiserver_anew(self):
        """From any thread: a child ends with the thread that started it, so
        the main one does it."""
        done = threading.Event()

        def order():
            self.start_apiserver()
            done.set()

        self.orders.put(order)
        done.wait()

    def start_apiserver(self):
        """Also after it was stopped, with the same port."""
        accounts = self.path("service-accounts.key")
        self.child(
            "kube-apiserver", self.apiserver,
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}", "--endpoint-reconciler-type=none",
            "--tls-cert-file=" + self.path("server.crt"),
            "--tls-private-key-file=" + self.path("server.key"),
            "--client-ca-file=" + self.path("ca.crt"),
            "--authorization-mode=RBAC",
            "--service-account-issuer=" + ISSUER,
            "--service-account-key-file=" + accounts,
            "--service-account-signing-key-file=" + accounts,
            "--service-cluster-ip-range=10.0.0.0/24",
            # Its tokens come from a controller, which is not there.
            "--disable-admission-plugins=ServiceAccount",
            "--requestheader-client-ca-file=" + self.path("ca.crt"),
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--proxy-client-cert-file=" + self.path("front-proxy.crt"),
            "--proxy-client-key-file=" + self.path("front-proxy.key"),
            "--etcd-compaction-interval=0",
            "--audit-policy-file=" + self.path("audit.json"),
            "--audit-log-path=" + self.path("audit.log"),
            "--audit-log-mode=blocking")

    def admin(self):
        """The administrator's connection."""
        return Api(self.port, self.path("ca.crt"),
                   self.path("admin.crt"), self.path("admin.key"))

    def client(self, token):
        """A connection of somebody who has a token."""
        return Api(self.port, self.path("ca.crt"), token=token)

    def alive(self):
        """Whether both servers run."""
        return all(child.poll() is None for child in self.children.values())

    def signal(self, name, number):
        """To one of the two servers."""
        self.children[name].send_signal(number)

    def stop(self):
        """Nothing of it is needed again, so nobody is asked politely."""
        for child in self.children.values():
            child.kill()
        for child in self.children.values():
            child.wait()


def tails(cluster):
    """For a start that failed."""
    for name in cluster.children:
        with open(cluster.path(name + ".log"), encoding="utf-8") as log:
            sys.stderr.writelines(log.readlines()[-30:])


def main():
    """Serves until SIGTERM or the end of the parent."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--apiserver", required=True,
                        help="the program, as test/kubernetes/build makes it")
    parser.add_argument("--directory", required=True, help="a new one")
    args = parser.parse_args()
    parent = os.getppid()
    end_with_parent()
    if os.getppid() != parent:
        sys.exit("the parent has gone")

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.mkdir(args.directory, 0o700)
    cluster = Cluster(args.directory, args.apiserver)
    try:
        api = cluster.start()
        workloads = Workloads(cluster.admin(), cluster.metrics)
        workloads.start()
        cluster.metrics.start()
        proxy = Proxy(cluster, api, workloads)
        proxy.start()
        print(json.dumps({
            "server": f"https://127.0.0.1:{cluster.port}",
            "proxy": f"http://127.0.0.1:{proxy.port}",
            "metrics_port": cluster.metrics.port,
            "ca_file": cluster.path("ca.crt"),
            "directory": args.directory,
        }), flush=True)
        while not stop.is_set():
            try:
                cluster.orders.get(timeout=0.2)()
            except queue.Empty:
                pass
    except TimeoutError as error:
        print(error, file=sys.stderr)
        tails(cluster)
        sys.exit(1)
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
