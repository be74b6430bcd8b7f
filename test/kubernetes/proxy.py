"""What a test does to the cluster, through plain HTTP on the loopback
interface: any request of Kubernetes as its administrator, as with "kubectl
proxy", and under /_cluster what no such request can do.

    POST   /_cluster/token     {"namespace", "account"}: a token, and the
                               Secret whose deletion ends it
    POST   /_cluster/signal    {"server": "etcd", "signal": "SIGSTOP"}
    POST   /_cluster/restart   the API server, on the same port
    POST   /_cluster/compact   etcd forgets: what lists go on from expires
    POST   /_cluster/crowd     the account qpsscale in prod has so many requests
                               that wait for an etcd that is stopped that the
                               next ones are refused ...
    POST   /_cluster/calm      ... until now
    POST   /_cluster/workloads {"paused": true}: controllers and nodes sleep
    POST   /_cluster/usage     {"prod/deployments/web": "cpu=100m,memory=1Mi"}:
                               what each pod of an object uses from now on
    POST   /_cluster/metrics   {"hang": true}: the metrics service does
    GET    /_cluster/audit     requests of service accounts so far
    DELETE /_cluster/audit     forgets them
"""

import base64
import json
import signal
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

START_SECONDS = 120
CROWD = {"namespace": "prod", "account": "qpsscale"}
CROWD_SIZE = 20                     # more than the level admits
CROWD_PATH = "/apis/apps/v1/namespaces/prod/deployments/crowd"


class Proxy:
    """Serves in a thread of its own."""

    def __init__(self, cluster, api, workloads):
        self.cluster = cluster
        self.api = api
        self.workloads = workloads
        self.audited = 0            # bytes of the log that are forgotten
        self.tokens = 0
        self.crowded = False
        handler = type("Handler", (ProxyHandler,), {"owner": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]

    def start(self):
        """Returns at once."""
        threading.Thread(target=self.server.serve_forever,
                         daemon=True).start()

    def token(self, wanted):
        """Bound to a Secret of its own, with which it ends."""
        self.tokens += 1
        base = f"/api/v1/namespaces/{wanted['namespace']}"
        secret = self.api.call("POST", base + "/secrets", {
            "metadata": {"name": f"token-{self.tokens}"}})["metadata"]
        reply = self.api.call(
            "POST", f"{base}/serviceaccounts/{wanted['account']}/token",
            {"spec": {"expirationSeconds": wanted.get("seconds", 3600),
                      "boundObjectRef": {
                          "kind": "Secret", "apiVersion": "v1",
                          "name": secret["name"], "uid": secret["uid"]}}})
        return {"token": reply["status"]["token"], "secret": secret["name"]}

    def signal(self, wanted):
        """To etcd or the API server."""
        self.cluster.signal(wanted["server"],
                            getattr(signal, wanted["signal"]))
        return {}

    def restart(self, _):
        """Kills the API server and starts it anew."""
        child = self.cluster.children["kube-apiserver"]
        child.kill()
        child.wait()
        self.cluster.start_apiserver_anew()
        self.api.wait_ready(START_SECONDS, self.cluster.alive)
        return {}

    def compact(self, _):
        """Up to a revision that nobody has read."""
        key = base64.b64encode(b"qpsscale").decode()
        revision = self.etcd("put", {"key": key})["header"]["revision"]
        return self.etcd("compaction",
                         {"revision": revision, "physical": True})

    def etcd(self, call, body):
        """One call of etcd's own API."""
        url = f"http://127.0.0.1:{self.cluster.etcd_port}/v3/kv/{call}"
        with urllib.request.urlopen(url, json.dumps(body).encode()) as reply:
            return json.load(reply)

    def crowd(self, _):
        """A priority level of its own admits three at a time.  The token is
        known to the API server before: it asks etcd for what it is bound to."""
        token = self.token(CROWD)["token"]
        if not self.crowded:
            self.crowded = self.narrow()
        scaler = self.cluster.client(token)
        scaler.request("GET", CROWD_PATH)
        self.cluster.signal("etcd", signal.SIGSTOP)
        refused = threading.Event()
        for _ in range(CROWD_SIZE):
            threading.Thread(target=self.one_more, args=(token, refused),
                             daemon=True).start()
        if not refused.wait(START_SECONDS):
            raise TimeoutError("no request is one too many")
        return {}

    def narrow(self):
        """Of the priority level and what belongs to it; waits until the API
        server knows."""
        flow = "/apis/flowcontrol.apiserver.k8s.io/v1beta1"
        self.api.call("POST", flow + "/prioritylevelconfigurations", {
            "metadata": {"name": "narrow"}, "spec": {
                "type": "Limited", "limited": {
                    "assuredConcurrencyShares": 1,
                    "limitResponse": {"type": "Reject"}}}})
        schema = self.api.call("POST", flow + "/flowschemas", {
            "metadata": {"name": "narrow"}, "spec": {
                "priorityLevelConfiguration": {"name": "narrow"},
                "matchingPrecedence": 100, "rules": [{
                    "subjects": [{"kind": "ServiceAccount", "serviceAccount": {
                        "name": CROWD["account"],
                        "namespace": CROWD["namespace"]}}],
                    "resourceRules": [{
                        "verbs": ["*"], "apiGroups": ["*"],
                        "resources": ["*"], "namespaces": ["*"],
                        "clusterScope": True}]}]}})
        scaler = self.cluster.client(self.token(CROWD)["token"])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            headers = scaler.request("GET", CROWD_PATH)[1]
            if headers.get("X-Kubernetes-Pf-Flowschema-Uid") \
                    == schema["metadata"]["uid"]:
                return True
            time.sleep(0.05)
        raise TimeoutError("the flow schema is not used")

    def one_more(self, token, refused):
        """Of the requests that wait, or are one too many."""
        try:
            if self.cluster.client(token).request("GET", CROWD_PATH)[0] == 429:
                refused.set()
        except OSError:
            pass

    def calm(self, _):
        """etcd answers, and so do they."""
        self.cluster.signal("etcd", signal.SIGCONT)
        return {}

    def set_workloads(self, wanted):
        """Status stays what it is while nobody writes it."""
        self.workloads.pause(wanted["paused"])
        return {}

    def set_usage(self, wanted):
        """It is in the next sample."""
        self.workloads.usage.update(wanted)
        return {}

    def set_metrics(self, wanted):
        """Answers that were held come when it ends."""
        metrics = self.cluster.metrics
        if wanted["hang"]:
            metrics.resume.clear()
            metrics.hang.set()
        else:
            metrics.hang.clear()
            metrics.resume.set()
        return {}

    def audit(self, forget):
        """One event per request, in the order of their ends."""
        with open(self.cluster.path("audit.log"), "rb") as log:
            log.seek(self.audited)
            text = log.read()
        text = text[:text.rfind(b"\n") + 1]
        if forget:
            self.audited += len(text)
        return {"items": [json.loads(line) for line in text.splitlines()]}


class ProxyHandler(BaseHTTPRequestHandler):
    """One request of the test."""

    protocol_version = "HTTP/1.1"
    owner = None
    actions = {"token": Proxy.token, "signal": Proxy.signal,
               "restart": Proxy.restart, "compact": Proxy.compact,
               "crowd": Proxy.crowd, "calm": Proxy.calm,
               "workloads": Proxy.set_workloads,
               "usage": Proxy.set_usage, "metrics": Proxy.set_metrics}

    def log_message(self, *_):
        """Nothing is said."""

    def serve(self):
        """A request for the cluster, or for ourselves."""
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length else None
        content_type = self.headers.get("Content-Type")
        try:
            if self.path == "/_cluster/audit":
                answer = self.owner.audit(self.command == "DELETE")
            elif self.path.startswith("/_cluster/"):
                action = self.actions[self.path.rsplit("/", 1)[1]]
                answer = action(self.owner, json.loads(body or "{}"))
            else:
                status, _, text = self.owner.api.request(
                    self.command, self.path, body, content_type)
                return self.answer(status, text)
            return self.answer(200, json.dumps(answer).encode())
        except Exception as error:      # the test wants to know, and goes on
            return self.answer(599, f"{type(error).__name__}: {error}".encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def answer(self, status, text):
        """One reply."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
