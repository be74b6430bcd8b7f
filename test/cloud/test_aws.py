"""The AWS half of the emulator: its signatures against the published vectors
and AWS' own signer (Debian's python3-botocore, where it is installed), its
replies read by AWS' own client.
"""

import datetime
import hashlib
import http.client
import json
import time
import unittest
import urllib.parse

import sigv4
from harness import KEY, SECRET, Emulator

try:
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import ClientError
except ImportError:
    botocore = None

REGION = "us-east-1"
BALANCER = "app/web/50dc6c495c0c9188"


class Vectors(unittest.TestCase):
    """Signature Version 4, as AWS publishes it."""

    def test_get_vanilla_of_the_official_suite(self):
        headers = {"host": "example.amazonaws.com",
                   "x-amz-date": "20150830T123600Z"}
        canonical = sigv4.canonical_request(
            "GET", "/", "", headers, ["host", "x-amz-date"], b"")
        self.assertEqual(
            sigv4.signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                            "20150830T123600Z", "us-east-1", "service",
                            canonical),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")

    def test_a_form_of_the_query_protocol(self):
        body = (b"Action=DescribeAutoScalingGroups&Version=2011-01-01"
                b"&AutoScalingGroupNames.member.1=web-0&MaxRecords=100")
        self.assertEqual(
            hashlib.sha256(body).hexdigest(),
            "1a7c1762473a33ae3e0e05d0a80140b2cb8aca9556a554e574a8f475bacb4af8")
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "host": "autoscaling.us-east-1.amazonaws.com",
            "x-amz-date": "20240102T030405Z"}
        canonical = sigv4.canonical_request("POST", "/", "", headers,
                                            sorted(headers), body)
        self.assertEqual(
            sigv4.signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                            "20240102T030405Z", "us-east-1", "autoscaling",
                            canonical),
            "7f20500f36eb33671b28a63453ff931c6190a8d45b31c8ea5c053ab258765ded")


class Served(unittest.TestCase):
    """An emulator with the groups web-0 to web-129."""

    def setUp(self):
        self.emulator = Emulator("--boot-delay", "0")
        self.emulator.control("PUT", "groups", [
            {"id": "web-%d" % i, "alb_id": BALANCER if i == 0 else None,
             "min": 1, "max": 6, "desired": 2} for i in range(130)])

    def tearDown(self):
        self.emulator.stop()

    def send(self, service, headers, body, now=None, secret=SECRET):
        """(status, body) of a request that is signed here."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(
            time.time() if now is None else now))
        headers = dict(headers, host=self.emulator.host)
        headers["x-amz-date"] = stamp
        canonical = sigv4.canonical_request("POST", "/", "", headers,
                                            sorted(headers), body)
        headers["authorization"] = (
            "AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, "
            "SignedHeaders=%s, Signature=%s" % (
                KEY, stamp[:8], REGION, service, ";".join(sorted(headers)),
                sigv4.signature(secret, stamp, REGION, service, canonical)))
        connection = http.client.HTTPConnection("127.0.0.1",
                                                self.emulator.port,
                                                timeout=10)
        connection.putrequest("POST", "/", skip_host=True,
                              skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, text

    def form(self, action, now=None, secret=SECRET, **fields):
        pairs = [("Action", action), ("Version", "2011-01-01")]
        pairs += [(k.replace("__", "."), v) for k, v in fields.items()]
        return self.send(
            "autoscaling",
            {"content-type":
             "application/x-www-form-urlencoded; charset=utf-8"},
            urllib.parse.urlencode(pairs).encode(), now, secret)

    def metrics(self, queries, start=None, end=None, **more):
        end = int(time.time()) // 60 * 60 if end is None else end
        body = {"StartTime": end - 300 if start is None else start,
                "EndTime": end, "MetricDataQueries": queries, **more}
        status, text = self.send(
            "monitoring",
            {"content-type": "application/x-amz-json-1.0", "x-amz-target":
             "GraniteServiceVersion20100801.GetMetricData"},
            json.dumps(body).encode())
        return status, json.loads(text)

    @staticmethod
    def query(name, metric="RequestCount", stat="Sum", **dimensions):
        dimensions = dimensions or {"LoadBalancer": BALANCER}
        return {"Id": name, "ReturnData": True, "MetricStat": {
            "Period": 60, "Stat": stat, "Metric": {
                "Namespace": "AWS/ApplicationELB", "MetricName": metric,
                "Dimensions": [{"Name": k, "Value": v}
                               for k, v in dimensions.items()]}}}

    # ---- signatures -------------------------------------------------------

    def test_a_wrong_secret_is_refused(self):
        status, text = self.form("DescribeAutoScalingGroups", secret="wrong")
        self.assertEqual(status, 403)
        self.assertIn("<Code>SignatureDoesNotMatch</Code>", text)

    def test_a_clock_that_is_off_is_refused_with_words(self):
        status, text = self.form("DescribeAutoScalingGroups",
                                 now=time.time() - 400)
        self.assertEqual(status, 403)
        self.assertIn("Signature expired", text)
        status, text = self.form("DescribeAutoScalingGroups",
                                 now=time.time() + 400)
        self.assertIn("not yet current", text)

    # ---- groups -----------------------------------------------------------

    def test_a_hundred_names_need_max_records(self):
        names = {"AutoScalingGroupNames__member__%d" % (i + 1): "web-%d" % i
                 for i in range(100)}
        status, text = self.form("DescribeAutoScalingGroups", **names)
        self.assertEqual(status, 400)
        self.assertIn("<Code>ValidationError</Code>", text)
        status, text = self.form("DescribeAutoScalingGroups",
                                 MaxRecords="100", **names)
        self.assertEqual(status, 200)
        self.assertEqual(text.count("<AutoScalingGroupName>"), 100)

    def test_unknown_names_are_left_out(self):
        status, text = self.form(
            "DescribeAutoScalingGroups",
            AutoScalingGroupNames__member__1="nope")
        self.assertEqual(status, 200)
        self.assertIn("<AutoScalingGroups></AutoScalingGroups>", text)

    def test_a_listing_comes_in_pages(self):
        seen, token = 0, None
        while True:
            fields = {"NextToken": token} if token else {}
            status, text = self.form("DescribeAutoScalingGroups", **fields)
            self.assertEqual(status, 200)
            seen += text.count("<AutoScalingGroupName>")
            if "<NextToken>" not in text:
                break
            token = text.split("<NextToken>")[1].split("<")[0]
        self.assertEqual(seen, 130)

    def test_a_desired_capacity_is_set_within_the_limits_only(self):
        for value, word in (("9", "above max value 6"),
                            ("0", "below min value 1")):
            status, text = self.form("SetDesiredCapacity",
                                     AutoScalingGroupName="web-1",
                                     DesiredCapacity=value)
            self.assertEqual(status, 400)
            self.assertIn(word, text)
        status, text = self.form("SetDesiredCapacity",
                                 AutoScalingGroupName="nope",
                                 DesiredCapacity="2")
        self.assertIn("name not found", text)
        status, _ = self.form("SetDesiredCapacity",
                              AutoScalingGroupName="web-1",
                              DesiredCapacity="4")
        self.assertEqual(status, 200)
        shown = self.emulator.control("GET", "groups/web-1")
        self.assertEqual(shown["desired"], 4)

    # ---- metrics ----------------------------------------------------------

    def test_requests_are_published_only_where_there_were_some(self):
        self.emulator.control("PUT", "traffic/" + urllib.parse.quote(
            BALANCER, safe=""), {"kind": "constant", "qps": 10})
        status, reply = self.metrics([self.query("m0"), self.query(
            "m1", LoadBalancer="app/none/1")])
        self.assertEqual(status, 200)
        self.assertEqual(reply["MetricDataResults"][0]["Values"],
                         [600.0] * 5)
        self.assertEqual(reply["MetricDataResults"][1]["Values"], [])
        newest_first = reply["MetricDataResults"][0]["Timestamps"]
        self.assertEqual(newest_first, sorted(newest_first, reverse=True))
        self.emulator.control("PUT", "traffic/" + urllib.parse.quote(
            BALANCER, safe=""), {"kind": "constant", "qps": 0})
        _, reply = self.metrics([self.query("m0")])
        self.assertEqual(reply["MetricDataResults"][0]["Values"], [])
        self.assertEqual(
            self.emulator.control("GET", "counters")["metrics_asked"], 3)

    def test_minutes_are_kept_for_fifteen_days(self):
        self.emulator.control("PUT", "traffic/" + urllib.parse.quote(
            BALANCER, safe=""), {"kind": "constant", "qps": 10})
        now = int(time.time()) // 60 * 60
        for days, points in ((14, 5), (16, 0)):
            end = now - days * 86400
            _, reply = self.metrics([self.query("m0")], end=end)
            self.assertEqual(len(reply["MetricDataResults"][0]["Values"]),
                             points)

    def test_more_than_five_hundred_queries_are_refused(self):
        status, reply = self.metrics([self.query("m%d" % i)
                                      for i in range(501)])
        self.assertEqual(status, 400)
        self.assertTrue(reply["__type"].endswith("#ValidationError"))

    # ---- AWS' own client --------------------------------------------------

    def client(self, service):
        session = botocore.session.get_session()
        session.set_credentials(KEY, SECRET)
        return session.create_client(
            service, region_name=REGION, endpoint_url=self.emulator.url,
            config=Config(retries={"max_attempts": 0}))

    @unittest.skipIf(botocore is None, "python3-botocore is not installed")
    def test_the_official_client_is_understood_and_understands(self):
        client = self.client("autoscaling")
        groups = client.describe_auto_scaling_groups(
            AutoScalingGroupNames=["web-0", "nope"])["AutoScalingGroups"]
        self.assertEqual([(g["AutoScalingGroupName"], g["MinSize"],
                           g["MaxSize"], g["DesiredCapacity"],
                           len(g["Instances"])) for g in groups],
                         [("web-0", 1, 6, 2, 2)])
        self.assertEqual(groups[0]["Instances"][0]["LifecycleState"],
                         "InService")
        client.set_desired_capacity(AutoScalingGroupName="web-0",
                                    DesiredCapacity=4)
        activities = client.describe_scaling_activities(
            AutoScalingGroupName="web-0")["Activities"]
        self.assertEqual(len(activities), 2)
        with self.assertRaises(ClientError) as caught:
            client.set_desired_capacity(AutoScalingGroupName="web-0",
                                        DesiredCapacity=99)
        self.assertEqual(caught.exception.response["Error"]["Code"],
                         "ValidationError")
        self.assertEqual(self.emulator.control(
            "GET", "counters")["signature_failures"], 0)

    @unittest.skipIf(botocore is None, "python3-botocore is not installed")
    def test_the_official_signer_signs_what_we_verify(self):
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials

        body = b"{}"
        request = botocore.awsrequest.AWSRequest(
            "POST", self.emulator.url + "/", headers={
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target":
                "GraniteServiceVersion20100801.GetMetricData"}, data=body)
        botocore.auth.SigV4Auth(
            botocore.credentials.Credentials(KEY, SECRET), "monitoring",
            REGION).add_auth(request)
        headers = {k.lower(): v for k, v in request.headers.items()}
        headers.setdefault("host", self.emulator.host)
        verifier = sigv4.Verifier({KEY: (SECRET, None)}, ("monitoring",))
        now = datetime.datetime.strptime(
            headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(
                tzinfo=datetime.timezone.utc).timestamp()
        scope = verifier.verify("POST", "/", "", headers, body, now)
        self.assertEqual(scope.region, REGION)


if __name__ == "__main__":
    unittest.main()
