"""What the emulator's own tests share: a running emulator and its clients."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import unittest

import control
import signature

HERE = os.path.dirname(os.path.abspath(__file__))
KEY, SECRET = "AKLTEMULATOR", "EmulatorSecret"
REGION = "ap-southeast-1"


class Emulator:
    """A running emulator."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "emulator.py"),
             "--exit-with-parent", *options],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.first_line = line
        self.port = int(line.rsplit(":", 1)[1])
        self.host = "127.0.0.1:%d" % self.port
        self.url = "http://" + self.host

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.process.stdout.close()
        return code

    def control(self, method, path, data=None):
        return control.request(self.url, method, path, data)

    def raw(self, method, query, body=b"", headers=None, timeout=10):
        """(status, headers, body) of one request on a connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                timeout=timeout)
        try:
            connection.putrequest(method, "/?" + query, skip_host=True,
                                  skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def call(self, action, region=REGION, timeout=10, **params):
        """(status, decoded reply) of a signed AutoScaling request."""
        query = "Action=%s&Version=2020-01-01" % action
        for name, value in params.items():
            name = name.replace("__", ".")
            query += "&%s=%s" % (name, signature.escape(str(value)))
        headers = signature.sign_headers(KEY, SECRET, region, "auto_scaling",
                                         "GET", self.host, query)
        status, _, body = self.raw("GET", query, b"", headers, timeout)
        return status, json.loads(body)

    def metric_wire(self, albs, **fields):
        """(query, body) of a GetMetricData request."""
        now = int(time.time())
        end = now - now % 60
        wanted = {"MetricName": "load_balancer_qps", "Namespace": "VCM_ALB",
                  "SubNamespace": "loadbalancer", "Period": "1m",
                  "StartTime": end - 300, "EndTime": end}
        if albs is not None:
            wanted["Instances"] = [
                {"Dimensions": [{"Name": "ResourceID", "Value": alb}]}
                for alb in albs]
        wanted.update(fields)
        wanted = {k: v for k, v in wanted.items() if v is not None}
        return ("Action=GetMetricData&Version=2018-01-01",
                json.dumps(wanted).encode())

    def metric(self, albs, service="Volc_Observe", region=REGION, **fields):
        """(status, decoded reply) of a signed GetMetricData."""
        query, body = self.metric_wire(albs, **fields)
        headers = signature.sign_headers(
            KEY, SECRET, region, service, "POST", self.host, query, body,
            content_type="application/json")
        status, _, reply = self.raw("POST", query, body, headers)
        return status, json.loads(reply)


def code_of(answer):
    """(status, error code) of a call's answer."""
    status, reply = answer
    return status, reply["ResponseMetadata"].get("Error", {}).get("Code")


def series_of(answer):
    """ALB -> {timestamp: value} of a successful GetMetricData."""
    status, reply = answer
    assert status == 200, reply
    return {s["Dimensions"][0]["Value"]:
            {p["Timestamp"]: p.get("Value") for p in s["DataPoints"] or []}
            for s in reply["Result"]["Data"]["MetricDataResults"]}


class Cloud(unittest.TestCase):
    """One emulator for all tests of a class, reset before each."""

    OPTIONS = ("--boot-delay", "0.4")

    @classmethod
    def setUpClass(cls):
        cls.cloud = Emulator(*cls.OPTIONS)

    @classmethod
    def tearDownClass(cls):
        cls.cloud.stop()

    def setUp(self):
        self.cloud.control("POST", "reset")

    def groups(self, *specs):
        self.cloud.control("PUT", "groups", list(specs))

    def many(self, count):
        self.groups(*[{"id": "scg-%d" % i} for i in range(count)])

    def traffic(self, **scripts):
        self.cloud.control("PUT", "traffic", {
            name.replace("_", "-"): script
            for name, script in scripts.items()})

    def fault(self, kind, times=1, match=None, **params):
        self.cloud.control("POST", "faults", [{
            "kind": kind, "times": times, "match": match or {},
            "params": params}])

    def group(self, name="scg-a"):
        return self.cloud.control("GET", "groups/" + name)

    def counters(self):
        return self.cloud.control("GET", "counters")

    def log(self):
        return self.cloud.control("GET", "log?since=0")["entries"]

    def until(self, condition, message):
        deadline = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline, message)
            time.sleep(0.02)
