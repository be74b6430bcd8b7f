"""Plays the controllers and the nodes of a cluster that has neither: makes
and removes the pods of scalable objects, lets them become ready after a while,
and writes the status of both."""

import sys
import threading
import time

TICK_SECONDS = 0.1

# Of an object: after how long its pods are ready, and what each requests.
BOOT = "test.qpsscale/boot-seconds"
REQUEST = "test.qpsscale/request"

KINDS = ("apps/v1/deployments", "apps/v1/statefulsets",
         "apps/v1/replicasets", "stable.example.com/v1/workers")


def now():
    """As the API server writes a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def quantities(text):
    """"cpu=100m,memory=10Mi" as a mapping."""
    return dict(term.split("=", 1) for term in (text or "").split(",") if term)


class Workloads:
    """One thread looks at everything ten times a second."""

    def __init__(self, api, metrics):
        self.api = api
        self.metrics = metrics
        self.paused = False
        self.busy = threading.Lock()
        self.born = {}              # (namespace, pod) -> monotonic seconds
        self.usage = {}             # NAMESPACE/PLURAL/NAME -> of each pod
        self.count = 0

    def start(self):
        """Plays on in a thread of its own."""
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        """An API server that is gone for a while is nothing to end for."""
        while True:
            with self.busy:
                try:
                    if not self.paused:
                        self.tick()
                except Exception as error:      # of a test's making
                    print(f"workloads: {error}", file=sys.stderr)
            time.sleep(TICK_SECONDS)

    def pause(self, paused):
        """Once this has returned nothing is written any more."""
        with self.busy:
            self.paused = paused

    def items(self, kind):
        """All objects of a kind in all namespaces; none where there is no
        such kind."""
        found = self.api.call("GET", f"/apis/{kind}", allow=(404,))
        return found["items"] if found else []

    def tick(self):
        """One look at all there is."""
        pods = {}
        for pod in self.api.call("GET", "/api/v1/pods")["items"]:
            labels = pod["metadata"].get("labels", {})
            if "kind" in labels:
                key = (pod["metadata"]["namespace"], labels["kind"],
                       labels["app"])
                pods.setdefault(key, []).append(pod)
        samples = {}
        for kind in KINDS:
            for item in self.items(kind):
                meta = item["metadata"]
                plural = kind.rsplit("/", 1)[1]
                own = pods.pop((meta["namespace"], plural, meta["name"]), [])
                self.reconcile(kind, item, own, samples)
        for orphans in pods.values():
            for pod in orphans:
                self.remove(pod["metadata"])
        self.metrics.set(samples)

    def reconcile(self, kind, item, pods, samples):
        """As many pods as are wanted, the oldest kept; then the status."""
        meta = item["metadata"]
        plural = kind.rsplit("/", 1)[1]
        owner = f"{meta['namespace']}/{plural}/{meta['name']}"
        notes = meta.get("annotations", {})
        wanted = item.get("spec", {}).get("replicas", 1)
        pods.sort(key=lambda pod: self.since(pod["metadata"]))
        for pod in pods[wanted:]:
            self.remove(pod["metadata"])
        del pods[wanted:]
        while len(pods) < wanted:
            pods.append(self.create(item, plural, notes))
        ready = 0
        for pod in pods:
            where = (meta["namespace"], pod["metadata"]["name"])
            age = time.monotonic() - self.since(pod["metadata"])
            if age < float(notes.get(BOOT, 0.5)):
                continue
            ready += 1
            if pod["status"].get("phase") != "Running":
                self.make_ready(pod)
            if owner in self.usage:
                samples[where] = (pod["metadata"]["labels"],
                                  quantities(self.usage[owner]))
        self.write_status(kind, item, len(pods), ready)

    def since(self, meta):
        """When we saw a pod first, in monotonic seconds."""
        return self.born.setdefault((meta["namespace"], meta["name"]),
                                    time.monotonic())

    def create(self, item, plural, notes):
        """A pod of an object, which is Pending."""
        self.count += 1
        namespace = item["metadata"]["namespace"]
        labels = {"kind": plural, "app": item["metadata"]["name"]}
        pod = self.api.call("POST", f"/api/v1/namespaces/{namespace}/pods", {
            "metadata": {"name": f"{item['metadata']['name']}-{self.count}",
                         "labels": labels},
            "spec": {"nodeName": "node", "terminationGracePeriodSeconds": 0,
                     "automountServiceAccountToken": False,
                     "containers": [{
                         "name": "app", "image": "app",
                         "resources": {
                             "requests": quantities(notes.get(REQUEST))}}]}})
        self.since(pod["metadata"])
        return pod

    def make_ready(self, pod):
        """What a kubelet writes when a pod has come up."""
        meta = pod["metadata"]
        self.api.merge(
            f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status",
            {"status": {"phase": "Running", "startTime": now(), "conditions": [
                {"type": "Ready", "status": "True",
                 "lastTransitionTime": now()}]}}, allow=(404,))

    def remove(self, meta):
        """At once: no kubelet would confirm it."""
        self.born.pop((meta["namespace"], meta["name"]), None)
        self.api.call(
            "DELETE", f"/api/v1/namespaces/{meta['namespace']}/pods/"
            f"{meta['name']}?gracePeriodSeconds=0", allow=(404,))

    def write_status(self, kind, item, replicas, ready):
        """Only where it differs: each write is a new resourceVersion."""
        meta = item["metadata"]
        status = {"replicas": replicas, "readyReplicas": ready or None,
                  "availableReplicas": ready or None,
                  "observedGeneration": meta["generation"]}
        if kind.startswith("stable."):
            status = {"replicas": replicas, "selector": f"app={meta['name']}"}
        elif "statefulsets" in kind:
            del status["availableReplicas"]
        seen = item.get("status", {})
        if all(seen.get(name) == value or seen.get(name, 0) == (value or 0)
               for name, value in status.items()):
            return
        plural = kind.rsplit("/", 1)[1]
        group = kind[:-len(plural) - 1]
        self.api.merge(
            f"/apis/{group}/namespaces/{meta['namespace']}/{plural}/"
            f"{meta['name']}/status", {"status": status}, allow=(404, 409))
