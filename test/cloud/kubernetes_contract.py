#!/usr/bin/env python3
"""What a Kubernetes API server answers to what a scaler may ask: recorded from
a real one (kubernetes_contract.json), to be kept by the emulator.

    kubernetes_contract.py check  URL CA TOKEN CONTROL     compares, as TAP
    kubernetes_contract.py record URL CA TOKEN CONTROL     prints the replies

The recording is compared with the real server by "make check-k8s"
(test/kubernetes/t/010_contract.pl) and with the emulator by its own tests.
Both show the same scene, and nobody but us changes it meanwhile:

    namespace prod    deployments web (2 of 2 ready), idle (no replicas asked
                      for), held (paused, 1 ready), api and batch (0); the
                      statefulset db (1 ready); the horizontal pod autoscaler
                      "web" for web; of stable.example.com the workers w
                      (2 replicas, status written) and bare (says nothing)
    namespace empty   nothing
    the token's user  system:serviceaccount:prod:qpsscale, in both namespaces:
                      deployments/scale get patch, deployments get list,
                      statefulsets/scale get, workers and workers/scale get
                      list patch, horizontalpodautoscalers list, pods of
                      metrics.k8s.io list, things/scale of nosuch.example.com
                      get

What no request of Kubernetes can do is asked for by POST to CONTROL/NAME:
"compact" makes the tokens expire that lists go on from; between "crowd" and
"calm" the server has no time for this user.
"""

import http.client
import json
import os
import re
import ssl
import sys
import urllib.request
from urllib.parse import quote, urlsplit

sys.dont_write_bytecode = True      # the checkout stays as it is

RECORDING = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                         "kubernetes_contract.json")
MERGE = "application/merge-patch+json"
APPS = "/apis/apps/v1/namespaces/prod"
WEB = APPS + "/deployments/web"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WORKERS = "/apis/stable.example.com/v1/namespaces/prod/workers"


def scale(replicas, **metadata):
    """The body of a merge patch."""
    body = {"spec": {"replicas": replicas}}
    return dict(body, metadata=metadata) if metadata else body


def may(verb, resource, subresource=""):
    """The question whether one may."""
    return {"apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": "prod", "group": "apps", "verb": verb,
                "resource": resource, "subresource": subresource}}}


# Name, method, path, and what is sent.  $version and $continue are those of
# the reply before.
STEPS = [
    ("the scale of a deployment", "GET", WEB + "/scale"),
    ("a deployment", "GET", WEB),
    ("a paused deployment", "GET", APPS + "/deployments/held"),
    ("a deployment that was asked for no replicas", "GET",
     APPS + "/deployments/idle"),
    ("its scale", "GET", APPS + "/deployments/idle/scale"),
    ("a list of deployments", "GET", APPS + "/deployments"),
    ("its first page", "GET", APPS + "/deployments?limit=2"),
    ("the next page", "GET", APPS + "/deployments?limit=2&continue=$continue"),
    ("the last page", "GET", APPS + "/deployments?limit=2&continue=$continue"),
    ("a page that follows nothing", "GET",
     APPS + "/deployments?limit=2&continue=garbage"),
    ("a first page again", "GET", APPS + "/deployments?limit=2"),
    ("compact",),
    ("a page that comes too late", "GET",
     APPS + "/deployments?limit=2&continue=$continue"),
    ("the rest, as that reply offers it", "GET",
     APPS + "/deployments?limit=2&continue=$continue"),
    ("a list from the cache", "GET", APPS + "/deployments?resourceVersion=0"),
    ("a namespace without deployments", "GET",
     "/apis/apps/v1/namespaces/empty/deployments"),
    ("a deployment that does not exist", "GET", APPS + "/deployments/none"),
    ("the scale of none", "GET", APPS + "/deployments/none/scale"),
    ("a write to none", "PATCH", APPS + "/deployments/none/scale", scale(3)),
    ("the scale before a write", "GET", WEB + "/scale"),
    ("a write to what was read", "PATCH",
     WEB + "/scale?fieldManager=qpsscale",
     scale(4, resourceVersion="$version")),
    ("a write to what is not any more", "PATCH", WEB + "/scale",
     scale(5, resourceVersion="1")),
    ("the number that is there, to what is not any more", "PATCH",
     WEB + "/scale", scale(4, resourceVersion="1")),
    ("an unconditional write", "PATCH", WEB + "/scale", scale(5)),
    ("the same again", "PATCH", WEB + "/scale", scale(5)),
    ("a write that only tries", "PATCH", WEB + "/scale?dryRun=All", scale(9)),
    ("which changes nothing", "GET", WEB + "/scale"),
    ("a write to another object of that name", "PATCH", WEB + "/scale",
     scale(6, uid="00000000-0000-0000-0000-000000000000")),
    ("a write of none", "PATCH", WEB + "/scale", scale(0)),
    ("the scale afterwards", "GET", WEB + "/scale"),
    ("a negative number", "PATCH", WEB + "/scale", scale(-1)),
    ("a write of an unknown type", "PATCH", WEB + "/scale", scale(1),
     "application/json"),
    ("a method that there is not", "DELETE", WEB + "/scale"),
    ("a whole scale, which the role does not allow", "PUT", WEB + "/scale",
     scale(1), "application/json"),
    ("the scale of a stateful set", "GET", APPS + "/statefulsets/db/scale"),
    ("a write that the role does not allow", "PATCH",
     APPS + "/statefulsets/db/scale", scale(2)),
    ("a list that the role does not allow", "GET", APPS + "/statefulsets"),
    ("an object that the role does not allow", "GET",
     APPS + "/statefulsets/db"),
    ("another namespace", "GET", "/apis/apps/v1/namespaces/other/deployments"),
    ("the scale of a worker", "GET", WORKERS + "/w/scale"),
    ("a worker", "GET", WORKERS + "/w"),
    ("a list of workers", "GET", WORKERS),
    ("a write to a worker", "PATCH", WORKERS + "/w/scale", scale(3)),
    ("a write to an older worker", "PATCH", WORKERS + "/w/scale",
     scale(4, resourceVersion="1")),
    ("more workers than its schema allows", "PATCH", WORKERS + "/w/scale",
     scale(21)),
    ("no workers", "PATCH", WORKERS + "/w/scale", scale(0)),
    ("the scale of a worker that says nothing", "GET",
     WORKERS + "/bare/scale"),
    ("a write to it", "PATCH", WORKERS + "/bare/scale", scale(1)),
    ("the scale of a worker that does not exist", "GET",
     WORKERS + "/none/scale"),
    ("a group that does not exist", "GET",
     "/apis/nosuch.example.com/v1/namespaces/prod/things/x/scale"),
    ("the metrics where there is no server of them", "GET",
     "/apis/metrics.k8s.io/v1beta1/namespaces/prod/pods"),
    ("horizontal pod autoscalers", "GET",
     "/apis/autoscaling/v1/namespaces/prod/horizontalpodautoscalers"),
    ("a version of them that this server does not have", "GET",
     "/apis/autoscaling/v2/namespaces/prod/horizontalpodautoscalers"),
    ("whether a right is there", "POST", REVIEWS,
     may("patch", "deployments", "scale"), "application/json"),
    ("whether another is there", "POST", REVIEWS,
     may("delete", "deployments"), "application/json"),
    ("crowd",),
    ("a request too many", "GET", WEB + "/scale"),
    ("calm",),
    ("a token that is none", "GET", WEB + "/scale", None, None, "garbage"),
    ("no token at all", "GET", WEB + "/scale", None, None, ""),
]


class Client:
    """One connection to the API server."""

    def __init__(self, url, ca, token, agent="qpsscale"):
        parts = urlsplit(url)
        if parts.scheme == "https":
            self.connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=60,
                context=ssl.create_default_context(cafile=ca))
        else:
            self.connection = http.client.HTTPConnection(
                parts.hostname, parts.port, timeout=60)
        self.token = token
        self.agent = agent

    def request(self, method, path, body=None, content_type=None, token=None):
        """Status, headers, text."""
        # A server pretty-prints for what looks like a person.
        headers = {"Accept": "application/json", "User-Agent": self.agent}
        token = self.token if token is None else token
        if token:
            headers["Authorization"] = "Bearer " + token
        if body is not None:
            headers["Content-Type"] = content_type or MERGE
            body = json.dumps(body)
        self.connection.request(method, path, body, headers)
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read().decode()


def filled(value, seen):
    """$version and $continue, as the reply before had them."""
    text = json.dumps(value)
    for name, last in seen.items():
        text = text.replace("$" + name, last)
    return json.loads(text)


# What differs from server to server, or matters to nobody who scales.
ANY = {"uid", "resourceVersion", "creationTimestamp", "continue"}
LEFT_OUT = {"managedFields", "annotations", "generation", "template",
            "strategy", "revisionHistoryLimit", "progressDeadlineSeconds",
            "serviceName", "podManagementPolicy", "updateStrategy",
            "availableReplicas", "updatedReplicas", "observedGeneration",
            "currentReplicas", "collisionCount", "conditions", "selfLink",
            "targetCPUUtilizationPercentage", "lastScaleTime"}


def plain(value):
    """A body without what may differ."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    # A continue that is empty is the end of a list.
    return {name: "*" if name in ANY and item else plain(item)
            for name, item in value.items() if name not in LEFT_OUT}


def plain_reply(status, headers, text):
    """Of a reply what is recorded."""
    reply = {"status": status,
             "type": headers.get("Content-Type", "").split(";")[0]}
    if headers.get("Retry-After"):
        reply["retry_after"] = headers["Retry-After"]
    if reply["type"] == "application/json":
        reply["body"] = plain(json.loads(text))
        # A list from the cache is in no order.
        if "items" in reply["body"]:
            reply["body"]["items"].sort(
                key=lambda item: item["metadata"]["name"])
        if reply["body"].get("kind") == "SelfSubjectAccessReview":
            # What is said of it is for people.
            reply["body"] = {"kind": reply["body"]["kind"], "status": {
                "allowed": reply["body"]["status"]["allowed"]}}
        if reply["body"].get("kind") == "Status":
            # What is quoted of an object's id or of a token that is none.
            reply["body"]["message"] = re.sub(
                r"(?<=object meta: ).*|(?<=key is not valid: ).*", "*",
                reply["body"]["message"])
    else:
        reply["body"] = text
    return reply


def play(client, control):
    """Makes all requests; yields their names and replies.  control does what
    no request can, by name."""
    seen = {}
    for name, *request in STEPS:
        if not request:
            control(name)
            continue
        method, path, *sent = request
        status, headers, text = client.request(
            method, filled(path, {key: quote(value)
                                  for key, value in seen.items()}),
            *(filled(value, seen) for value in sent))
        if headers.get("Content-Type", "").startswith("application/json"):
            metadata = json.loads(text).get("metadata", {})
            seen = {"version": metadata.get("resourceVersion", ""),
                    "continue": metadata.get("continue", "")}
        yield name, plain_reply(status, headers, text)


def recorded():
    """Replies by name."""
    with open(RECORDING, encoding="utf-8") as file:
        return json.load(file)


def main():
    """See above."""
    what, url, ca, token, base = sys.argv[1:]
    client = Client(url, ca, token)

    def control(name):
        with urllib.request.urlopen(urllib.request.Request(
                f"{base}/{name}", b"{}", method="POST")) as reply:
            reply.read()

    if what == "record":
        lines = [f"{json.dumps(name)}: {json.dumps(reply)}"
                 for name, reply in play(client, control)]
        print("{\n" + ",\n".join(lines) + "\n}")
        return
    expected = recorded()
    for name, reply in play(client, control):
        same = reply == expected.get(name)
        print(("ok" if same else "not ok") + f" - {name}")
        if not same:
            print("# expected " + json.dumps(expected.get(name)))
            print("# seen     " + json.dumps(reply))


if __name__ == "__main__":
    main()
