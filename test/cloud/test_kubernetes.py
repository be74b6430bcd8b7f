#!/usr/bin/env python3
"""The emulator's API server: against the recording of a real one, and against
Debian's client where it is installed."""

import json
import sys
import unittest

sys.dont_write_bytecode = True

import kubernetes_contract
from control import ControlError
from harness import Cloud
from kubernetes_selector import Selector, SelectorError

WORKERS = "workers.v1.stable.example.com"
USER = "system:serviceaccount:prod:qpsscale"
RULES = [
    ("prod", "apps", "deployments/scale", "get patch"),
    ("prod", "apps", "deployments", "get list"),
    ("prod", "apps", "statefulsets/scale", "get"),
    ("prod", "stable.example.com", "workers workers/scale",
     "get list patch"),
    ("prod", "autoscaling", "horizontalpodautoscalers", "list"),
    ("prod", "metrics.k8s.io", "pods", "list"),
    ("prod", "nosuch.example.com", "things/scale", "get"),
    ("empty", "apps", "deployments", "list"),
]


def scene():
    """What kubernetes_contract.py says."""
    common = {"namespace": "prod", "frozen": True}
    return [
        {"name": "web", "replicas": 2, **common},
        {"name": "idle", "replicas": 0, **common},
        {"name": "held", "replicas": 1, "paused": True, **common},
        {"name": "api", "replicas": 0, **common},
        {"name": "batch", "replicas": 0, **common},
        {"name": "db", "resource": "statefulsets.v1.apps", **common},
        {"name": "w", "resource": WORKERS, "replicas": 2, "most": 20,
         **common},
        {"name": "bare", "resource": WORKERS, "replicas": None,
         "status": False, **common},
    ]


class Contract(Cloud):

    def test_answers_are_those_of_a_real_server(self):
        self.cloud.control("PUT", "kubernetes/settings", {
            "tokens": {"good": USER}, "serves_metrics": False,
            "rules": [{"namespace": n, "group": g, "resources": r, "verbs": v}
                      for n, g, r, v in RULES]})
        self.cloud.control("PUT", "kubernetes/objects", scene())
        self.cloud.control("PUT", "kubernetes/autoscalers", [
            {"namespace": "prod", "name": "web", "target": "web"}])
        client = kubernetes_contract.Client(self.cloud.url, None, "good")
        self.addCleanup(client.connection.close)
        expected = kubernetes_contract.recorded()
        for name, reply in kubernetes_contract.play(
                client, lambda what: self.cloud.control(
                    "POST", "kubernetes/" + what, {})):
            with self.subTest(name):
                self.assertEqual(reply, expected[name])


class Pods(Cloud):

    def deploy(self, **settings):
        self.cloud.control("PUT", "kubernetes/settings",
                           {"tokens": {"good": "tester"}})
        self.cloud.control("PUT", "kubernetes/objects", [
            {"namespace": "prod", "name": "web", **settings}])

    def request(self, method, path, body=None):
        client = kubernetes_contract.Client(self.cloud.url, None, "good")
        status, _, text = client.request(method, path, body)
        client.connection.close()
        return status, json.loads(text)

    def test_pods_take_their_time_and_are_told_by_the_object(self):
        self.deploy(replicas=1, boot_delay=0.3)
        path = "/apis/apps/v1/namespaces/prod/deployments/web"
        _, before = self.request("GET", path)
        self.request("PATCH", path + "/scale", {"spec": {"replicas": 3}})
        _, now = self.request("GET", path)
        self.assertEqual(now["status"], {"replicas": 3, "readyReplicas": 1})
        self.until(lambda: self.request("GET", path)[1]["status"].get(
            "readyReplicas") == 3, "all are ready")
        _, after = self.request("GET", path)
        self.assertNotIn(after["metadata"]["resourceVersion"],
                         (before["metadata"]["resourceVersion"],
                          now["metadata"]["resourceVersion"]))

    def test_pods_and_samples_are_selected(self):
        self.deploy(replicas=2, usage={"cpu": "50m", "memory": "10Mi"})
        for path, count in (("/api/v1/namespaces/prod/pods", 2),
                            ("/apis/metrics.k8s.io/v1beta1/namespaces/prod/"
                             "pods", 2),
                            ("/api/v1/namespaces/other/pods", 0)):
            for selector, some in (("app=web", True), ("app%3Dnone", False),
                                   ("app%20in%20(web,x)", True)):
                status, reply = self.request(
                    "GET", path + "?labelSelector=" + selector)
                self.assertEqual((status, len(reply["items"])),
                                 (200, count if some else 0), path)

    def test_a_reviewed_right_is_the_right_one_has(self):
        self.deploy()
        self.cloud.control("PUT", "kubernetes/settings", {"rules": [
            {"namespace": "prod", "group": "apps",
             "resources": "deployments/scale", "verbs": "patch"}]})
        for namespace, allowed in (("prod", True), ("other", False)):
            _, reply = self.request(
                "POST", "/apis/authorization.k8s.io/v1/"
                "selfsubjectaccessreviews", {
                    "spec": {"resourceAttributes": {
                        "namespace": namespace, "group": "apps",
                        "resource": "deployments", "subresource": "scale",
                        "verb": "patch"}}})
            self.assertEqual(reply["status"]["allowed"], allowed)

    def test_what_cannot_be_is_refused(self):
        for spec in ([{"namespace": "a"}],
                     [{"namespace": "a", "name": "b", "colour": 1}],
                     [{"namespace": "a", "name": "b", "resource": "x"}]):
            with self.assertRaises(ControlError):
                self.cloud.control("PUT", "kubernetes/objects", spec)


class Selectors(unittest.TestCase):

    def test_the_grammar(self):
        labels = {"app": "web", "tier": "a"}
        for text, matches in (
                ("", True), ("app=web", True), ("app==web,tier=a", True),
                ("app!=web", False), ("app in (x, web)", True),
                ("app notin (web)", False), ("none notin (x)", True),
                ("tier", True), ("!tier", False), ("! none", True),
                ("app=web,tier in (b)", False)):
            self.assertEqual(Selector(text).matches(labels), matches, text)
        for text in ("app=(", "in (", "a in b", "a=b c"):
            with self.assertRaises(SelectorError):
                Selector(text)


if __name__ == "__main__":
    unittest.main()
