"""The API server of a Kubernetes cluster, as far as a scaler may ask it:
scales, the objects behind them, autoscalers, pods and what they use.

Its answers are those of a real one (kubernetes_contract.json).  Nodes and
controllers are played: a pod is ready some seconds after its object asked for
it, and gone as soon as it does not.  Every change, one of the status too,
makes a new resourceVersion.  Tests change the cluster by the control API under
/_emulator/kubernetes (kubernetes_control.py).
"""

import base64
import json
import re
import time
import urllib.parse
import uuid

from kubernetes_selector import Selector, SelectorError

MERGE_PATCH = "application/merge-patch+json"
AUTHORIZATION = "authorization.k8s.io"

BUILT_IN = {"deployments": "Deployment", "statefulsets": "StatefulSet",
            "replicasets": "ReplicaSet"}

# What a log entry and a fault call a request, by verb and resource.
ACTIONS = {("list", "pods", ""): "ListPods",
           ("list", "pods", "metrics.k8s.io"): "ListPodMetrics",
           ("list", "horizontalpodautoscalers", "autoscaling"):
           "ListAutoscalers"}


class Refusal(Exception):
    """An answer that is an error: a Status, or plain text."""

    def __init__(self, status, reason, message, details=None, headers=None,
                 text=None):
        super().__init__(message)
        self.status = status
        self.body = text if text is not None else json.dumps({
            "kind": "Status", "apiVersion": "v1",
            "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": status,
            **({"details": details} if details is not None else {})})
        self.headers = dict(headers or {})
        if text is not None:
            self.headers["Content-Type"] = "text/plain; charset=utf-8"


def page_not_found():
    return Refusal(404, "", "", text="404 page not found\n")


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Pod:
    """A pod of an object."""

    def __init__(self, name, created, ready_at, settings):
        self.name = name
        self.created = created
        self.ready_at = ready_at
        self.settings = settings        # what a test says about it

    def is_ready(self, now):
        return now >= self.ready_at and self.settings.get("ready", True)


# What a test may say of an object, with its default.
OBJECT_SETTINGS = {
    "replicas": 1,          # None: its author said nothing
    "paused": False,
    "deleting": False,
    "frozen": False,        # nobody plays its controller
    "boot_delay": None,     # seconds until a pod is ready; None: the world's
    "most": None,           # a custom resource's schema allows no more
    "labels": None,         # of its pods, and its selector: {"app": NAME}
    "requests": {"cpu": "100m", "memory": "64Mi"},
    "usage": None,          # of each pod; None: no samples
    "pod_settings": {},     # {"ready": false, "phase": .., "deleting": true}
    "status": True,         # of a custom resource: whether it has one
}


class Object:
    """A scalable object."""

    def __init__(self, cluster, resource, namespace, name, spec, now):
        unknown = set(spec) - set(OBJECT_SETTINGS) - {"ready"}
        if unknown:
            raise ValueError("unknown key " + ", ".join(sorted(unknown)))
        self.cluster = cluster
        self.plural, self.version, self.group = resource
        self.namespace, self.name = namespace, name
        self.uid = str(uuid.uuid4())
        self.created = now
        self.settings = {**OBJECT_SETTINGS, **spec}
        self.settings.pop("ready", None)
        self.replicas = self.settings.pop("replicas")
        self.labels = self.settings["labels"] or {"app": name}
        self.serial = 0
        self.pods = []
        self.history = []
        self.shown = None
        for number in range(spec.get("ready", self.replicas or 0)):
            self._add_pod(now - 3600, now - 3000)
        self.touch()
        self.advance(now)

    @property
    def resource(self):
        return (self.plural, self.version, self.group)

    @property
    def custom(self):
        return self.plural not in BUILT_IN

    def touch(self):
        self.cluster.version += 1
        self.resource_version = str(self.cluster.version)

    def _add_pod(self, created, ready_at):
        self.serial += 1
        self.pods.append(Pod("%s-%d" % (self.name, self.serial), created,
                             ready_at, self.settings["pod_settings"]))

    def advance(self, now):
        """What controller and nodes have done since."""
        if not self.settings["frozen"]:
            wanted = self.replicas or 0
            delay = self.settings["boot_delay"]
            if delay is None:
                delay = self.cluster.boot_delay
            del self.pods[wanted:]
            while len(self.pods) < wanted:
                self._add_pod(now, now + delay)
        shown = (len(self.pods), self.ready(now))
        if self.shown is not None and shown != self.shown:
            self.touch()
        self.shown = shown

    def ready(self, now):
        return sum(pod.is_ready(now) for pod in self.pods)

    def write(self, replicas, manager, now):
        if replicas != self.replicas:
            self.replicas = replicas
            self.touch()
        self.history.append([now, replicas, manager])
        self.advance(now)

    def metadata(self):
        shown = {"name": self.name, "namespace": self.namespace,
                 "uid": self.uid, "resourceVersion": self.resource_version,
                 "creationTimestamp": iso(self.created)}
        if self.settings["deleting"]:
            shown["deletionTimestamp"] = iso(self.created)
        return shown

    def scale(self, replicas=-1):
        """The subresource; zeros are left out."""
        if replicas == -1:
            replicas = self.replicas
        status = {"replicas": len(self.pods)}
        if not self.custom or self.settings["status"]:
            status["selector"] = ",".join(
                "%s=%s" % pair for pair in sorted(self.labels.items()))
        return {"kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": self.metadata(),
                "spec": {"replicas": replicas} if replicas else {},
                "status": status}

    def show(self, now, alone):
        """The object; in a list of a built-in kind without its kind."""
        spec = {}
        if self.replicas is not None:
            spec["replicas"] = self.replicas
        status = {}
        if self.custom:
            if self.settings["status"]:
                status = {"replicas": len(self.pods),
                          "selector": self.scale()["status"]["selector"]}
        else:
            spec["selector"] = {"matchLabels": self.labels}
            ready = self.ready(now)
            if self.pods or self.plural != "deployments":
                status["replicas"] = len(self.pods)
            if ready:
                status["readyReplicas"] = ready
        if self.settings["paused"]:
            spec["paused"] = True
        shown = {"metadata": self.metadata(), "spec": spec}
        if not self.custom or status:
            shown["status"] = status
        if alone or self.custom:
            shown["kind"] = self.cluster.kind_of(self.plural)
            shown["apiVersion"] = "%s/%s" % (self.group, self.version)
        return shown

    def report(self, now):
        """The truth, for tests."""
        self.advance(now)
        return {"resource": ".".join(self.resource),
                "namespace": self.namespace, "name": self.name,
                "replicas": self.replicas, "pods": len(self.pods),
                "ready": self.ready(now), "history": self.history,
                "resource_version": self.resource_version,
                **{name: self.settings[name]
                   for name in ("paused", "deleting", "usage")}}


def show_pod(owner, pod, now):
    """A pod as the core API shows it."""
    settings = pod.settings
    ready = pod.is_ready(now)
    metadata = {"name": pod.name, "namespace": owner.namespace,
                "labels": owner.labels, "creationTimestamp": iso(pod.created)}
    if settings.get("deleting"):
        metadata["deletionTimestamp"] = iso(now)
    requests = owner.settings["requests"]
    return {
        "metadata": metadata,
        "spec": {"containers": [{
            "name": "app",
            "resources": {"requests": requests} if requests else {}}]},
        "status": {
            "phase": settings.get("phase", "Running"),
            "startTime": iso(pod.created),
            "conditions": [
                {"type": "PodScheduled", "status": "True",
                 "lastTransitionTime": iso(pod.created)},
                {"type": "Ready", "status": "True" if ready else "False",
                 "lastTransitionTime": iso(
                     pod.ready_at if ready else pod.created)}]}}


def show_sample(owner, pod, now):
    """What it uses, as metrics-server shows it."""
    return {"metadata": {"name": pod.name, "namespace": owner.namespace,
                         "creationTimestamp": iso(now),
                         "labels": owner.labels},
            "timestamp": iso(now), "window": "15.02s",
            "containers": [{"name": "app", "usage": owner.settings["usage"]}]}


class Request:
    """An API request, read as far as it can be without judging it."""

    def __init__(self, message, body):
        self.method = message.method
        self.service, self.region, self.request_id = "kubernetes", "", ""
        self.content_type = message.headers.get("content-type", "")
        self.query = {name: values[-1] for name, values in
                      urllib.parse.parse_qs(message.query).items()}
        self.body = body
        self.params = {}
        self.namespace = self.name = self.subresource = None
        self.group = self.version = self.resource = ""
        parts = [urllib.parse.unquote(p) for p in message.path.split("/")[1:]]
        if parts[0] == "api":
            self.version, rest = parts[1] if len(parts) > 1 else "", parts[2:]
        else:
            parts += [""] * (3 - len(parts))
            self.group, self.version, rest = parts[1], parts[2], parts[3:]
        if rest[:1] == ["namespaces"] and len(rest) >= 3:
            self.namespace, rest = rest[1], rest[2:]
        if rest:
            self.resource, rest = rest[0], rest[1:]
        if rest:
            self.name, rest = rest[0], rest[1:]
        if rest:
            self.subresource = "/".join(rest)
        self.verb = {"GET": "get" if self.name else "list", "PUT": "update",
                     "POST": "create", "PATCH": "patch",
                     "DELETE": "delete"}.get(self.method, self.method.lower())
        self.action = self._action()
        self.ids = ["%s/%s" % (self.namespace, self.name)] if self.name else []
        self._read_replicas()

    def _action(self):
        known = ACTIONS.get((self.verb, self.resource, self.group))
        if known is not None:
            return known
        if self.group == AUTHORIZATION:
            return "ReviewAccess"
        return self.verb.capitalize() + (
            "Scale" if self.subresource == "scale" else
            "Objects" if self.name is None else "Object")

    def _read_replicas(self):
        """The log shows what a change asks for under one name."""
        if self.verb not in ("patch", "update"):
            return
        try:
            self.params["DesireInstanceNumber"] = json.loads(
                self.body)["spec"]["replicas"]
        except (ValueError, TypeError, KeyError, RecursionError):
            pass

    def facts(self):
        return {"action": self.action, "service": self.service, "region": "",
                "ids": self.ids}

    @property
    def full_resource(self):
        """As a rule of RBAC names it."""
        return self.resource + ("/" + self.subresource
                                if self.subresource else "")

    @property
    def qualified(self):
        """As an error names it."""
        return self.resource + ("." + self.group if self.group else "")


class Cluster:
    """All there is, and who may do what with it."""

    def __init__(self, boot_delay):
        self.default_boot_delay = boot_delay
        self.version = 1000
        self.reset()

    def reset(self):
        self.boot_delay = self.default_boot_delay
        self.objects = {}           # (resource, namespace, name) -> Object
        self.autoscalers = []       # namespace, name, target, kind, apiVersion
        self.kinds = {}             # plural of a custom kind -> kind
        self.tokens = {}            # token -> user
        self.rules = None           # None: everybody may do everything
        self.serves_metrics = True
        self.crowded = False
        self.page = 0               # objects a page at most, 0: as asked for
        self.races = {}             # "NS/NAME": what somebody else does to it
                                    # just before the next write arrives:
                                    # replicas, "touch" or "delete"
        self.oldest = 0             # pages of lists older than this expired

    def kind_of(self, plural):
        return BUILT_IN.get(plural) or self.kinds.get(plural) \
            or plural.rstrip("s").capitalize()

    # ---- who --------------------------------------------------------------

    def user(self, message, certificate):
        """Whom a request is from."""
        header = message.headers.get("authorization", "")
        if header.startswith("Bearer "):
            user = self.tokens.get(header[len("Bearer "):])
            if user is None:
                raise Refusal(401, "Unauthorized", "Unauthorized")
            return user
        for field in (certificate or {}).get("subject", ()):
            for name, value in field:
                if name == "commonName":
                    return value
        return "system:anonymous"

    def allows(self, user, namespace, group, resource, verb):
        if user == "system:anonymous":
            return False
        return self.rules is None or any(
            rule.get("namespace", namespace) == namespace
            and rule.get("user", user) == user
            and rule.get("group", "") == group
            and resource in rule["resources"].split()
            and verb in rule["verbs"].split() for rule in self.rules)

    def authorize(self, user, request):
        if request.group == AUTHORIZATION or self.allows(
                user, request.namespace, request.group,
                request.full_resource, request.verb):
            return
        details = {"kind": request.resource}
        what = request.qualified
        if request.group:
            details["group"] = request.group
        if request.name:
            details["name"] = request.name
            what += ' "%s"' % request.name
        raise Refusal(
            403, "Forbidden",
            '%s is forbidden: User "%s" cannot %s resource "%s" in API group '
            '"%s" in the namespace "%s"' % (
                what, user, request.verb, request.full_resource,
                request.group, request.namespace), details)

    # ---- what -------------------------------------------------------------

    def answer(self, request, message, certificate, now):
        """(HTTP status, body, headers) of a request."""
        try:
            user = self.user(message, certificate)
            if self.crowded:
                raise Refusal(
                    429, "", "", headers={"Retry-After": "1"},
                    text="Too many requests, please try again later.\n")
            self.authorize(user, request)
            status = 201 if request.verb == "create" else 200
            return status, json.dumps(
                self.handle(request, user, now)).encode(), \
                {"Content-Type": "application/json"}
        except Refusal as refusal:
            headers = {"Content-Type": "application/json", **refusal.headers}
            return refusal.status, refusal.body.encode(), headers

    def handle(self, request, user, now):
        for known in self.objects.values():
            known.advance(now)
        if request.group == AUTHORIZATION:
            return self.review(request, user)
        if request.resource == "pods" and request.verb == "list":
            return self.list_pods(request, now)
        if request.resource == "horizontalpodautoscalers":
            return self.list_autoscalers(request)
        if request.resource not in BUILT_IN \
                and not any(key[0][0] == request.resource
                            and key[0][2] == request.group
                            for key in self.objects):
            raise page_not_found()
        if request.verb == "list":
            return self.list_objects(request, now)
        if request.subresource == "scale" and request.verb in (
                "patch", "update"):
            return self.write(request, now)
        found = self.find(request)
        if request.verb != "get":
            raise Refusal(405, "MethodNotAllowed", "the server does not "
                          "allow this method on the requested resource", {})
        if request.subresource == "scale":
            if found.custom and found.replicas is None:
                missing = 'the spec replicas field ".spec.replicas" does ' \
                    'not exist'
                raise Refusal(500, "InternalError",
                              "Internal error occurred: " + missing,
                              {"causes": [{"message": missing}]})
            return found.scale()
        return found.show(now, alone=True)

    def find(self, request, write=False):
        found = self.objects.get(
            ((request.resource, request.version, request.group),
             request.namespace, request.name))
        if found is None:
            kind = request.resource
            if request.subresource and not write \
                    and request.resource in BUILT_IN:
                kind = request.full_resource
            raise Refusal(
                404, "NotFound", '%s.%s "%s" not found' % (
                    kind, request.group, request.name),
                {"name": request.name, "group": request.group, "kind": kind})
        return found

    def write(self, request, now):
        """A merge patch, or a whole Scale."""
        if request.verb == "patch" \
                and request.content_type.split(";")[0] != MERGE_PATCH:
            raise Refusal(415, "UnsupportedMediaType",
                          "415: Unsupported Media Type", {})
        self.race(request, now)
        found = self.find(request, write=True)
        try:
            body = json.loads(request.body)
            replicas = body.get("spec", {}).get("replicas",
                                                found.replicas or 0)
            metadata = body.get("metadata", {})
            if isinstance(replicas, bool) or not isinstance(replicas, int):
                raise ValueError("replicas")
        except (ValueError, AttributeError, RecursionError):
            raise Refusal(400, "BadRequest", "the body is no Scale") from None
        details = {"name": found.name, "group": found.group,
                   "kind": found.plural}
        if metadata.get("uid", found.uid) != found.uid:
            details["kind"] += "/scale"
            raise Refusal(
                409, "Conflict", 'Operation cannot be fulfilled on '
                '%s/scale.%s "%s": Precondition failed: UID in precondition: '
                '%s, UID in object meta: %s' % (
                    found.plural, found.group, found.name, metadata["uid"],
                    found.uid), details)
        if metadata.get("resourceVersion",
                        found.resource_version) != found.resource_version:
            raise Refusal(
                409, "Conflict", 'Operation cannot be fulfilled on %s.%s '
                '"%s": the object has been modified; please apply your '
                'changes to the latest version and try again' % (
                    found.plural, found.group, found.name), details)
        self.check_replicas(found, replicas)
        if request.query.get("dryRun") == "All":
            return found.scale(replicas)
        found.write(replicas, request.query.get("fieldManager", "unknown"),
                    now)
        return found.scale()

    def race(self, request, now):
        """What a test has another writer do."""
        what = self.races.pop("%s/%s" % (request.namespace, request.name),
                              None)
        if what is None:
            return
        found = self.find(request, write=True)
        if what == "touch":
            found.touch()
        elif what == "delete":
            del self.objects[(found.resource, found.namespace, found.name)]
        else:
            found.write(what, "rival", now)

    def check_replicas(self, found, replicas):
        most = found.settings["most"]
        if replicas < 0:
            message = "Invalid value: %d: must be greater than or equal to " \
                "0" % replicas
            kind, group = "Scale", "autoscaling"
        elif most is not None and replicas > most:
            message = "Invalid value: %d: spec.replicas in body should be " \
                "less than or equal to %d" % (replicas, most)
            kind, group = self.kind_of(found.plural), found.group
        else:
            return
        raise Refusal(
            422, "Invalid", '%s.%s "%s" is invalid: spec.replicas: %s' % (
                kind, group, found.name, message),
            {"name": found.name, "group": group, "kind": kind,
             "causes": [{"reason": "FieldValueInvalid", "message": message,
                         "field": "spec.replicas"}]})

    # ---- lists ------------------------------------------------------------

    def list_objects(self, request, now):
        wanted = (request.resource, request.version, request.group)
        items = [self.objects[key] for key in sorted(self.objects)
                 if key[0] == wanted and key[1] == request.namespace]
        reply = self.page_of(request, [o.show(now, False) for o in items])
        reply["kind"] = self.kind_of(request.resource) + "List"
        if request.resource not in BUILT_IN:
            reply["metadata"].setdefault("continue", "")
        return reply

    def selected_pods(self, request):
        """(object, pod) of a namespace, by labelSelector."""
        try:
            selector = Selector(request.query.get("labelSelector", ""))
        except SelectorError as error:
            raise Refusal(400, "BadRequest", str(error)) from None
        return [(owner, pod) for key, owner in sorted(self.objects.items())
                if owner.namespace == request.namespace
                and selector.matches(owner.labels) for pod in owner.pods]

    def list_pods(self, request, now):
        if request.group == "metrics.k8s.io":
            if not self.serves_metrics:
                raise page_not_found()
            # metrics-server knows no pages
            return {"kind": "PodMetricsList", "metadata": {},
                    "apiVersion": "metrics.k8s.io/v1beta1",
                    "items": [show_sample(owner, pod, now)
                              for owner, pod in self.selected_pods(request)
                              if owner.settings["usage"] is not None
                              and pod.ready_at <= now]}
        reply = self.page_of(request, [
            show_pod(owner, pod, now)
            for owner, pod in self.selected_pods(request)])
        reply["kind"] = "PodList"
        return reply

    def list_autoscalers(self, request):
        # v2 came with 1.23; every server has v1
        if request.version != "v1":
            raise Refusal(404, "NotFound", "the server could not find the "
                          "requested resource", {})
        reply = self.page_of(request, [
            {"metadata": {"name": hpa["name"],
                          "namespace": hpa["namespace"],
                          "uid": "00000000-0000-0000-0000-000000000001",
                          "resourceVersion": "1",
                          "creationTimestamp": iso(0)},
             "spec": {"scaleTargetRef": {
                 "kind": hpa.get("kind", "Deployment"),
                 "name": hpa["target"],
                 "apiVersion": hpa.get("apiVersion", "apps/v1")},
                 "minReplicas": 1, "maxReplicas": 9},
             "status": {"desiredReplicas": 0}}
            for hpa in self.autoscalers
            if hpa["namespace"] == request.namespace])
        reply["kind"] = "HorizontalPodAutoscalerList"
        return reply

    def page_of(self, request, items):
        """So many items from where the token points to."""
        first, version = self.position(request.query.get("continue"))
        most = int(request.query.get("limit", 0) or 0)
        if self.page:
            most = min(most, self.page) if most else self.page
        shown = items[first:first + most] if most else items[first:]
        metadata = {"resourceVersion": str(version)}
        left = len(items) - first - len(shown)
        if left > 0:
            metadata["continue"] = base64.urlsafe_b64encode(json.dumps(
                {"v": version, "at": first + len(shown)}).encode()).decode()
            metadata["remainingItemCount"] = left
        api = "%s/%s" % (request.group, request.version)
        return {"apiVersion": api.lstrip("/"), "metadata": metadata,
                "items": shown}

    def position(self, token):
        if token is None:
            return 0, self.version
        try:
            place = json.loads(base64.urlsafe_b64decode(token.encode()))
            first, version = int(place["at"]), int(place["v"])
        except (ValueError, KeyError, TypeError):
            raise Refusal(
                400, "BadRequest", "invalid continue token: continue key is "
                "not valid: garbage") from None
        if version < self.oldest:
            refusal = Refusal(
                410, "Expired", "The provided continue parameter is too old "
                "to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue "
                "token in this response to retrieve the remainder of the "
                "results. Continuing with the provided token results in an "
                "inconsistent list - objects that were created, modified, or "
                "deleted between the time the first chunk was returned and "
                "now may show up in the list.")
            body = json.loads(refusal.body)
            body["metadata"]["continue"] = base64.urlsafe_b64encode(
                json.dumps({"v": self.version, "at": first}).encode()).decode()
            refusal.body = json.dumps(body)
            raise refusal
        return first, version

    def compact(self):
        """Lists that were begun before now cannot be gone on with."""
        self.version += 1
        self.oldest = self.version

    # ---- access -----------------------------------------------------------

    def review(self, request, user):
        """A SelfSubjectAccessReview."""
        try:
            spec = json.loads(request.body)["spec"]["resourceAttributes"]
        except (ValueError, KeyError, TypeError):
            raise Refusal(400, "BadRequest", "no review") from None
        resource = spec.get("resource", "")
        if spec.get("subresource"):
            resource += "/" + spec["subresource"]
        return {"kind": "SelfSubjectAccessReview",
                "apiVersion": AUTHORIZATION + "/v1",
                "metadata": {}, "spec": {"resourceAttributes": spec},
                "status": {"allowed": self.allows(
                    user, spec.get("namespace", ""), spec.get("group", ""),
                    resource, spec.get("verb", ""))}}

    @staticmethod
    def refusal(status, reason, message):
        """What a fault says: the words of HTTP are those of a Status."""
        reason = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
                  409: "Conflict", 410: "Expired", 429: "TooManyRequests",
                  500: "InternalError", 503: "ServiceUnavailable",
                  504: "Timeout"}.get(status, reason)
        return Refusal(status, reason, message).body.encode()


def resource_of(text):
    """"deployments.v1.apps" in its three parts."""
    match = re.fullmatch(r"([^.]+)\.([^.]+)\.(.+)", text)
    if match is None:
        raise ValueError("%r is not PLURAL.VERSION.GROUP" % text)
    return match.groups()
