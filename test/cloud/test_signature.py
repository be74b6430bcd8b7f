"""Tests of the signature checks and of the traffic scripts, in memory."""

import calendar
import unittest

import signature
import traffic


class Vectors(unittest.TestCase):
    """The published signatures, made by other implementations."""

    AK = "AKLTEXAMPLEACCESSKEY0001"
    SK = "SkExampleSecretKey/0001+abcdefghijklmnopqrstuv=="
    X_DATE = "20240102T030405Z"
    NOW = calendar.timegm((2024, 1, 2, 3, 4, 5))
    BODY = (
        b'{"MetricName":"load_balancer_qps","StartTime":1704164400,'
        b'"EndTime":1704164640,"Namespace":"VCM_ALB",'
        b'"SubNamespace":"loadbalancer","Period":"1m","Instances":['
        b'{"Dimensions":[{"Name":"ResourceID","Value":"alb-aaa"}]},'
        b'{"Dimensions":[{"Name":"ResourceID","Value":"alb-bbb"}]}]}')
    AUTO = "auto-scaling.ap-southeast-1.byteplusapi.com"
    MONITOR = "volc-observe.ap-southeast-1.byteplusapi.com"
    V1_QUERY = ("Action=DescribeScalingGroups&PageSize=50&"
                "ScalingGroupIds.1=scg-aaa&ScalingGroupIds.2=scg-bbb&"
                "Version=2020-01-01")
    V3_QUERY = ("Action=ModifyScalingGroup&DesireInstanceNumber=7&"
                "ScalingGroupId=scg-aaa&Version=2020-01-01")
    CASES = {
        "V1": ("GET", V1_QUERY, AUTO, "auto_scaling", b"", False,
               "2852bc92baec85fbe9e320c3d241986ae618cc32455f45e14aa718c6c0f"
               "19251"),
        "V2": ("POST", "Action=GetMetricData&Version=2018-01-01", MONITOR,
               "Volc_Observe", BODY, True,
               "a35027df9e192a847d7f048ffa0ce1ee25eb90c8e2852cc16bd1c64df3b"
               "28ab1"),
        "V2n": ("POST", "Action=GetMetricData&Version=2018-01-01", MONITOR,
                "Volc_Observe", BODY, False,
                "1aa9add26fb4312d62b0e31458ca6e169abdc248c3d594428cbc7da4162"
                "2636b"),
        "V3": ("GET", V3_QUERY, AUTO, "auto_scaling", b"", False,
               "0fd45e03ae8fecaf2a62c50a6dcc495a88fd0cba1985e35c97e0b5036f0"
               "39c70"),
    }

    def headers(self, name):
        method, query, host, service, body, typed, given = self.CASES[name]
        names = ["host", "x-content-sha256", "x-date"]
        headers = {"host": host, "x-date": self.X_DATE,
                   "content-type": "application/json; charset=utf-8",
                   "x-content-sha256":
                       signature.hashlib.sha256(body).hexdigest()}
        if typed:
            names.insert(0, "content-type")
        headers["authorization"] = (
            "HMAC-SHA256 Credential=%s/20240102/ap-southeast-1/%s/request, "
            "SignedHeaders=%s, Signature=%s"
            % (self.AK, service, ";".join(names), given))
        return method, query, headers, body

    def verify(self, method, query, headers, body, now=NOW, keys=None):
        verifier = signature.Verifier(keys or {self.AK: (self.SK, None)},
                                      ("auto_scaling", "Volc_Observe"))
        return verifier.verify(method, "/", query, headers, body, now)

    def refused(self, code, *args, **more):
        with self.assertRaises(signature.SignatureError) as caught:
            self.verify(*args, **more)
        self.assertEqual(caught.exception.code, code)

    def test_published_signatures_are_accepted(self):
        for name in self.CASES:
            with self.subTest(name):
                scope = self.verify(*self.headers(name))
                self.assertEqual(scope.region, "ap-southeast-1")

    def test_key_chain(self):
        self.assertEqual(
            signature.derive_key(self.SK, "20240102", "ap-southeast-1",
                                 "auto_scaling").hex(),
            "0a2453b054819f9f172555485e95f23d0e7c103ce51d4ea098466a7b60fbef41")

    def test_one_changed_byte_is_refused(self):
        for name in self.CASES:
            method, query, headers, body = self.headers(name)
            self.refused("SignatureDoesNotMatch", method,
                         query.replace("2020", "2021").replace("2018",
                                                               "2019"),
                         headers, body)
            self.refused("SignatureDoesNotMatch", method, query,
                         dict(headers, host="other"), body)
            self.refused("SignatureDoesNotMatch", method, query, headers,
                         body + b" ")

    def test_unsigned_content_hash_must_still_be_true(self):
        method, query, headers, body = self.headers("V1")
        self.refused("SignatureDoesNotMatch", method, query,
                     dict(headers, **{"x-content-sha256": "00"}), body)

    def test_skew_of_fifteen_minutes(self):
        request = self.headers("V1")
        self.verify(*request, now=self.NOW + 900)
        self.verify(*request, now=self.NOW - 900)
        self.refused("InvalidTimestamp", *request, now=self.NOW + 902)
        self.refused("InvalidTimestamp", *request, now=self.NOW - 902)

    def test_refusals_by_kind(self):
        method, query, headers, body = self.headers("V1")
        auth = headers["authorization"]
        for code, changed in (
                ("InvalidAccessKey", auth.replace(self.AK, "AKLTother")),
                ("ServiceNotFound", auth.replace("auto_scaling", "nothing")),
                ("SignatureDoesNotMatch", auth.replace(";x-date", "")),
                ("SignatureDoesNotMatch", auth.replace("host;", "")),
                ("SignatureDoesNotMatch", auth.replace(
                    "host;x-content-sha256;x-date",
                    "x-date;host;x-content-sha256")),
                ("SignatureDoesNotMatch", auth.replace("x-date,",
                                                       "x-date;x-gone,")),
                ("InvalidCredential", auth.replace("/request", "/aws4")),
                ("InvalidCredential", auth.replace("20240102/", "20240103/")),
                ("MissingSignature", "HMAC-SHA256 Credential=x"),
                ("InvalidCredential", auth.replace("HMAC-SHA256", "AWS4"))):
            self.refused(code, method, query,
                         dict(headers, authorization=changed), body)
        for code, gone in (("MissingAuthenticationToken", "authorization"),
                           ("MissingRequestInfo", "x-date")):
            left = {k: v for k, v in headers.items() if k != gone}
            self.refused(code, method, query, left, body)
        self.refused("InvalidTimestamp", method, query,
                     dict(headers, **{"x-date": "yesterday"}), body)

    def test_session_token_must_be_right_and_signed(self):
        keys = {self.AK: (self.SK, "token")}
        self.refused("InvalidSecretToken", *self.headers("V1"), keys=keys)
        headers = signature.sign_headers(
            self.AK, self.SK, "r", "auto_scaling", "GET", "h", "",
            now=self.NOW, token="token")
        self.verify("GET", "", headers, b"", keys=keys)
        self.refused("InvalidSecretToken", "GET", "",
                     dict(headers, **{"x-security-token": "wrong"}), b"",
                     keys=keys)
        unsigned = signature.sign_headers(
            self.AK, self.SK, "r", "auto_scaling", "GET", "h", "",
            now=self.NOW)
        unsigned["x-security-token"] = "token"
        self.refused("SignatureDoesNotMatch", "GET", "", unsigned, b"",
                     keys=keys)

    def test_canonical_query_sorts_names_not_strings(self):
        self.assertEqual(
            signature.canonical_query("Ids.10=j&Ids.2=b&Ids.1=a&A=%2a b~/"),
            "A=%2A%20b~%2F&Ids.1=a&Ids.10=j&Ids.2=b")

    def test_default_port_is_not_part_of_the_host(self):
        self.assertEqual(signature.canonical_host("a:443"), "a")
        self.assertEqual(signature.canonical_host("a:8443"), "a:8443")


class Scripts(unittest.TestCase):
    """Traffic scripts as functions of simulated time."""

    def test_steps(self):
        curve = traffic.compile_curve(
            {"kind": "steps", "steps": [[60, 5], [0, 1]]}, 1000, "a")
        self.assertEqual([curve(t) for t in (0, 1059, 1060, 9999)],
                         [1, 1, 5, 5])

    def test_day_peaks_at_its_hour(self):
        curve = traffic.compile_curve(
            {"kind": "day", "low": 10, "high": 110, "peak_hour": 15}, 0, "a")
        self.assertAlmostEqual(curve(15 * 3600), 110)
        self.assertAlmostEqual(curve(3 * 3600), 10)

    def test_noise_is_reproducible(self):
        script = {"kind": "day", "low": 50, "high": 50, "noise": 0.1}
        one = traffic.compile_curve(script, 0, "a")
        two = traffic.compile_curve(script, 0, "a")
        values = {one(60 * m) for m in range(100)}
        self.assertGreater(len(values), 90)
        self.assertTrue(all(45 <= v <= 55 for v in values))
        self.assertEqual(values, {two(60 * m) for m in range(100)})

    def test_spike(self):
        curve = traffic.compile_curve(
            {"kind": "spike", "base": 10, "peak": 110, "at": 100,
             "duration": 60, "ramp": 10}, 0, "a")
        self.assertEqual([curve(t) for t in (99, 105, 120, 175, 200)],
                         [10, 60, 110, 60, 10])

    def test_bad_scripts_are_refused(self):
        for script in (None, {}, {"kind": "constant"},
                       {"kind": "constant", "qps": -1},
                       {"kind": "constant", "qps": True},
                       {"kind": "steps", "steps": [[1]]},
                       {"kind": "points", "points": {"x": 1}}):
            with self.assertRaises(ValueError):
                traffic.compile_curve(script, 0, "a")
