#!/usr/bin/env python3
"""Tests of the emulator itself: python3 test/cloud/test_emulator.py

Here: faults, the wire and the process.  test_signature.py and
test_actions.py are run along.
"""

import calendar
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import control
import signature
from harness import KEY, REGION, SECRET, Cloud, Emulator, code_of
from test_actions import Groups, Metrics
from test_signature import Scripts, Vectors


class Faults(Cloud):
    """Every ordered failure, as the wire shows it."""

    def setUp(self):
        super().setUp()
        self.groups({"id": "scg-a", "desired": 1, "max": 9})

    def wire(self, timeout=5):
        """All bytes of the answer to a signed request, until the end."""
        query = "Action=DescribeScalingGroups&Version=2020-01-01"
        headers = signature.sign_headers(KEY, SECRET, REGION, "auto_scaling",
                                         "GET", self.cloud.host, query)
        lines = ["GET /?%s HTTP/1.1" % query, "connection: close"]
        lines += ["%s: %s" % item for item in headers.items()]
        data = b""
        with socket.create_connection(("127.0.0.1", self.cloud.port),
                                      timeout) as sock:
            sock.sendall("\r\n".join(lines + ["", ""]).encode())
            while True:
                got = sock.recv(1 << 16)
                if not got:
                    return data
                data += got

    def body(self, timeout=5):
        head, _, body = self.wire(timeout).partition(b"\r\n\r\n")
        return head, body

    def test_hang(self):
        self.fault("hang")
        with self.assertRaises(socket.timeout):
            self.wire(0.3)
        self.until(lambda: self.counters()["in_flight"] == 0,
                   "abandoned request still in flight")
        self.assertEqual(self.log()[0]["error"], "peer gone")

    def test_reset(self):
        self.fault("reset")
        with self.assertRaises(ConnectionResetError):
            self.wire()

    def test_close_and_lost_reply(self):
        for kind, applied in (("close", 0), ("lost_reply", 1)):
            self.fault(kind, match={"action": "ModifyScalingGroup"})
            with self.assertRaises((http.client.RemoteDisconnected,
                                    ConnectionError)):
                self.cloud.call("ModifyScalingGroup", ScalingGroupId="scg-a",
                                DesireInstanceNumber=4)
            self.assertEqual(self.counters()["modify_applied"], applied)
        self.assertEqual(self.group()["desired"], 4)

    def test_drip(self):
        self.fault("drip", interval_ms=1)
        head, body = self.body(30)
        self.assertEqual(len(json.loads(body)["Result"]["ScalingGroups"]), 1)

    def test_status_with_retry_after(self):
        self.fault("status", status=429, retry_after=7)
        head, body = self.body()
        self.assertIn(b" 429 ", head)
        self.assertIn(b"Retry-After: 7", head)
        self.assertEqual(
            json.loads(body)["ResponseMetadata"]["Error"]["Code"],
            "FlowLimitExceeded")
        self.assertEqual(code_of(self.cloud.call("DescribeScalingGroups")),
                         (200, None))

    def test_error_in_a_200(self):
        self.fault("error_200")
        self.assertEqual(code_of(self.cloud.call("DescribeScalingGroups")),
                         (200, "InternalServiceError"))
        self.assertEqual(self.counters()["errors"], 1)

    def test_truncated(self):
        self.fault("truncated")
        head, body = self.body()
        length = int(head.split(b"Content-Length: ")[1].split(b"\r")[0])
        self.assertEqual(len(body), length // 2)

    def test_huge(self):
        self.fault("huge", mb=8)
        head, body = self.body(30)
        self.assertGreater(len(body), 8 << 20)
        self.assertIn("Result", json.loads(body))

    def test_malformed_bodies(self):
        self.fault("non_utf8")
        with self.assertRaises(UnicodeDecodeError):
            self.body()[1].decode()
        self.fault("wrong_content_type")
        self.assertIn(b"Content-Type: text/plain", self.body()[0])
        self.fault("html")
        self.assertIn(b"<html>", self.body()[1])
        self.fault("deep", depth=5000)
        self.assertIn(b"[" * 5000, self.body()[1])
        self.fault("empty")
        self.assertEqual(self.body()[1], b"")
        self.fault("gateway")
        self.assertIn(b"errorcode", self.body()[1])
        self.fault("redirect", location="http://x/")
        self.assertIn(b"Location: http://x/", self.body()[0])

    def test_delay(self):
        self.fault("delay", ms=300)
        start = time.monotonic()
        self.body()
        self.assertGreaterEqual(time.monotonic() - start, 0.29)

    def test_faults_match_in_order(self):
        self.fault("status", match={"group_id": "scg-b"}, status=500)
        self.fault("status", match={"group_id": "scg-a"}, status=503,
                   times=2)
        self.fault("status", match={"action": "DescribeScalingInstances"},
                   status=504)
        codes = [self.cloud.call("DescribeScalingInstances",
                                 ScalingGroupId="scg-a")[0]
                 for _ in range(4)]
        self.assertEqual(codes, [503, 503, 504, 200])
        self.cloud.control("DELETE", "faults")
        self.assertEqual(self.cloud.control("GET", "faults")["faults"], [])

    def test_probability_is_deterministic(self):
        outcomes = []
        for _ in range(2):
            self.cloud.control("DELETE", "faults")
            self.cloud.control("POST", "faults", [{
                "kind": "status", "probability": 0.5}])
            outcomes.append([self.cloud.call("DescribeScalingGroups")[0]
                             for _ in range(20)])
        self.assertEqual(outcomes[0], outcomes[1])
        self.assertEqual(set(outcomes[0]), {200, 500})

    def test_a_bad_list_of_faults_is_refused_whole(self):
        with self.assertRaises(control.ControlError):
            self.cloud.control("POST", "faults", [{"kind": "hang"},
                                                  {"kind": "nonsense"}])
        self.assertEqual(self.cloud.control("GET", "faults")["faults"], [])

    def test_webhook_is_recorded_and_can_fail(self):
        self.cloud.control("POST", "webhook/alert", {"text": "hi"})
        self.fault("status", match={"action": "webhook"}, status=500)
        with self.assertRaises(control.ControlError):
            self.cloud.control("POST", "webhook/alert", {"text": "hi"})
        self.assertEqual(self.counters()["webhook"], 1)
        self.assertEqual(self.counters()["requests"], 0)


class Wire(Cloud):
    """HTTP, counters and the life of the process."""

    OPTIONS = ("--boot-delay", "0.4", "--latency-ms", "200")

    def test_bad_signature_is_counted_and_explained(self):
        query = "Action=DescribeScalingGroups&Version=2020-01-01"
        headers = signature.sign_headers(KEY, "wrong", REGION,
                                         "auto_scaling", "GET",
                                         self.cloud.host, query)
        status, _, body = self.cloud.raw("GET", query, b"", headers)
        self.assertEqual(code_of((status, json.loads(body))),
                         (401, "SignatureDoesNotMatch"))
        self.assertEqual(self.counters()["signature_failures"], 1)
        entry = self.log()[0]
        self.assertFalse(entry["signature_ok"])
        self.assertIn("GET\n/\nAction=", entry["detail"])

    def test_skewed_cloud_refuses_and_shows_its_time(self):
        self.cloud.control("POST", "clock", {"offset": 3600})
        query = "Action=DescribeScalingGroups&Version=2020-01-01"
        headers = signature.sign_headers(KEY, SECRET, REGION, "auto_scaling",
                                         "GET", self.cloud.host, query)
        status, head, body = self.cloud.raw("GET", query, b"", headers)
        self.assertEqual(code_of((status, json.loads(body))),
                         (400, "InvalidTimestamp"))
        shown = calendar.timegm(time.strptime(head["Date"],
                                              "%a, %d %b %Y %H:%M:%S GMT"))
        self.assertAlmostEqual(shown, time.time() + 3600, delta=5)

    def test_requests_in_flight_together_are_seen(self):
        self.many(1)
        workers = [threading.Thread(target=self.cloud.call,
                                    args=("DescribeScalingGroups",))
                   for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        counters = self.counters()
        self.assertGreaterEqual(
            counters["actions"]["DescribeScalingGroups"]["max_in_flight"], 4)
        self.assertEqual(counters["connections"]["accepted"], 8)
        self.until(lambda: self.counters()["connections"]["open"] == 0,
                   "connections stay open")

    def test_keep_alive_and_pipelining(self):
        query = "Action=DescribeScalingGroups&Version=2020-01-01"
        headers = signature.sign_headers(KEY, SECRET, REGION, "auto_scaling",
                                         "GET", self.cloud.host, query)
        head = "GET /?%s HTTP/1.1\r\n%s\r\n\r\n" % (
            query, "\r\n".join("%s: %s" % item for item in headers.items()))
        data = b""
        with socket.create_connection(("127.0.0.1", self.cloud.port),
                                      5) as sock:
            sock.sendall(head.encode() * 3)
            while data.count(b"HTTP/1.1 200 OK") < 3:
                got = sock.recv(65536)
                self.assertTrue(got)
                data += got
        self.assertEqual(self.counters()["connections"]["accepted"], 1)
        self.assertEqual({e["connection"] for e in self.log()},
                         {self.log()[0]["connection"]})

    def test_garbage_does_not_end_it(self):
        for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n",
                     b"GET / HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n"
                     b"\r\n", b"A" * 200000,
                     b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: "
                     b"chunked\r\n\r\nzz\r\n"):
            with socket.create_connection(("127.0.0.1", self.cloud.port),
                                          5) as sock:
                try:
                    sock.sendall(data)
                    self.assertIn(sock.recv(12)[9:10], (b"4", b""))
                except ConnectionResetError:
                    pass
        self.assertEqual(self.counters()["requests"], 0)

    def test_odd_parameters_are_refused_not_fatal(self):
        for wanted in (5, [], {"Instances": 5}, {"StartTime": "x"},
                       {"Instances": [5]}, {"Period": "0m"},
                       {"Instances": [{"Dimensions": [{"Name": 1}]}]},
                       {"StatisticsMethods": [[]]}, {"SubNamespace": []}):
            query, body = self.cloud.metric_wire(["a"], **(
                wanted if isinstance(wanted, dict) else {}))
            if not isinstance(wanted, dict):
                body = json.dumps(wanted).encode()
            headers = signature.sign_headers(
                KEY, SECRET, REGION, "Volc_Observe", "POST", self.cloud.host,
                query, body)
            self.assertEqual(self.cloud.raw("POST", query, body, headers)[0],
                             400, wanted)

    def test_log_since_and_reset_of_the_log(self):
        self.many(1)
        for _ in range(3):
            self.cloud.call("DescribeScalingGroups")
        first = self.log()[0]
        later = self.cloud.control("GET", "log?since=%d" % first["seq"])
        self.assertEqual(len(later["entries"]), 2)
        self.assertGreaterEqual(first["end"] - first["start"], 0.19)
        self.cloud.control("POST", "reset", {"what": ["log"]})
        self.assertEqual(self.log(), [])
        self.assertEqual(self.group("scg-0")["id"], "scg-0")


class Process(unittest.TestCase):
    """How it starts and ends."""

    def test_one_line_and_a_clean_end(self):
        cloud = Emulator()
        self.assertRegex(cloud.first_line, r"^listening on 127\.0\.0\.1:\d+$")
        self.assertEqual(cloud.stop(), 0)

    def test_it_ends_with_its_parent(self):
        script = ("import subprocess, sys; p = subprocess.Popen([sys."
                  "executable, sys.argv[1], '--exit-with-parent'], "
                  "stdout=subprocess.PIPE); p.stdout.readline(); "
                  "print(p.pid)")
        done = subprocess.run(
            [sys.executable, "-c", script,
             os.path.join(HERE, "emulator.py")],
            stdout=subprocess.PIPE, check=True, timeout=20)
        pid = int(done.stdout)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
                    if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                        return
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        self.fail("it outlived its parent")

    def test_a_scene_that_is_wrong_is_refused(self):
        done = subprocess.run(
            [sys.executable, os.path.join(HERE, "emulator.py"), "--load",
             os.devnull], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=20, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, b"")

    @unittest.skipUnless(shutil.which("openssl"), "needs openssl")
    def test_tls(self):
        with tempfile.TemporaryDirectory() as directory:
            key = os.path.join(directory, "key.pem")
            cert = os.path.join(directory, "cert.pem")
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                 "-keyout", key, "-out", cert, "-days", "2", "-subj",
                 "/CN=127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
            cloud = Emulator("--tls-cert", cert, "--tls-key", key)
        try:
            url = "https://" + cloud.host
            counters = control.request(url, "GET", "counters")
            # Control connections are no connections of the product.
            self.assertEqual(counters["tls"]["handshakes"], 0)
            trust = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(
                "127.0.0.1", cloud.port, timeout=10, context=trust)
            for _ in range(2):
                connection.request("GET", "/")
                self.assertEqual(connection.getresponse().read()[:1], b"{")
            connection.close()
            counters = control.request(url, "GET", "counters")
            self.assertEqual(counters["tls"]["handshakes"], 1)
            self.assertEqual(counters["requests"], 2)
        finally:
            cloud.stop()


if __name__ == "__main__":
    unittest.main()
