"""metrics.k8s.io as metrics-server serves it, behind the API server's
aggregation: what the pods of workloads.py are said to use."""

import json
import re
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GROUP = "metrics.k8s.io/v1beta1"
WINDOW = "1.015s"                   # of metrics-server it is about 15 s


TERM = re.compile(r"""\s*(?P<not>!?)(?P<key>[^\s,=!()]+)\s*
                      (?:(?P<is>==?|!=)\s*(?P<value>[^\s,]*)
                       |(?P<in>in|notin)\s*\((?P<values>[^)]*)\))?
                      \s*(?:,|$)""", re.VERBOSE)


def selects(selector, labels):
    """Whether a selector, in the words of a query, fits some labels."""
    at = 0
    while at < len(selector):
        term = TERM.match(selector, at)
        if not term:
            raise ValueError(f"no selector: {selector}")
        at = term.end()
        seen = labels.get(term["key"])
        if term["is"]:
            fits = (seen == term["value"]) == (term["is"] != "!=")
        elif term["in"]:
            values = [value.strip() for value in term["values"].split(",")]
            fits = (seen in values) == (term["in"] == "in")
        else:
            fits = (seen is not None) == (not term["not"])
        if not fits:
            return False
    return True


class MetricsServer:
    """Samples by namespace and pod; set() takes a whole namespace anew."""

    def __init__(self, cert, key):
        self.lock = threading.Lock()
        self.samples = {}           # (namespace, pod) -> labels, usage
        self.hang = threading.Event()
        self.resume = threading.Event()
        handler = type("Handler", (MetricsHandler,), {"owner": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        # The handshake is left to the thread of the connection.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]

    def start(self):
        """Serves in a thread of its own."""
        threading.Thread(target=self.server.serve_forever,
                         daemon=True).start()

    def set(self, samples):
        """What all pods use: (namespace, pod) -> (labels, usage)."""
        with self.lock:
            self.samples = samples

    def pods(self, namespace, selector):
        """The items of a list."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self.lock:
            samples = sorted(self.samples.items())
        return [{"metadata": {"name": pod, "namespace": space,
                              "creationTimestamp": now, "labels": labels},
                 "timestamp": now, "window": WINDOW,
                 "containers": [{"name": "app", "usage": usage}]}
                for (space, pod), (labels, usage) in samples
                if namespace in (None, space)
                and selects(selector, labels)]


class MetricsHandler(BaseHTTPRequestHandler):
    """Only the API server calls, on behalf of whomever it has let through."""

    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *_):
        """Nothing is said."""

    def do_GET(self):
        """Discovery, which says that the service is there, and the lists."""
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        if self.owner.hang.is_set() and "pods" in parts:
            self.owner.resume.wait(60)
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        if parts[:3] != ["apis", *GROUP.split("/")]:
            return self.answer(404, {"kind": "Status", "apiVersion": "v1",
                                     "status": "Failure", "code": 404})
        if len(parts) == 3:
            return self.answer(200, {
                "kind": "APIResourceList", "apiVersion": "v1",
                "groupVersion": GROUP, "resources": [
                    {"name": "pods", "singularName": "", "namespaced": True,
                     "kind": "PodMetrics", "verbs": ["get", "list"]}]})
        namespace = parts[4] if parts[3] == "namespaces" else None
        return self.answer(200, {
            "kind": "PodMetricsList", "apiVersion": GROUP, "metadata": {},
            "items": self.owner.pods(namespace, selector)})

    def answer(self, status, body):
        """One JSON reply."""
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
