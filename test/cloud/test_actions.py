"""Tests of the actions: every documented limit and every trap."""

import time

import control
import signature
from harness import KEY, REGION, SECRET, Cloud, code_of, series_of


class Groups(Cloud):
    """AutoScaling: limits and traps."""

    def ids(self, answer):
        status, reply = answer
        self.assertEqual(status, 200, reply)
        return [g["ScalingGroupId"] for g in reply["Result"]["ScalingGroups"]]

    def test_known_ids_are_answered_in_another_order(self):
        self.many(20)
        asked = {"ScalingGroupIds__%d" % n: "scg-%d" % n
                 for n in range(1, 11)}
        found = self.ids(self.cloud.call("DescribeScalingGroups", **asked))
        self.assertEqual(sorted(found), sorted(asked.values()))
        self.assertNotEqual(found, list(asked.values()))

    def test_unknown_ids_return_other_groups(self):
        self.many(3)
        found = self.ids(self.cloud.call("DescribeScalingGroups",
                                         ScalingGroupIds__1="scg-none"))
        self.assertEqual(len(found), 3)
        found = self.ids(self.cloud.call(
            "DescribeScalingGroups", ScalingGroupIds__1="scg-none",
            ScalingGroupIds__2="scg-1"))
        self.assertEqual(sorted(found), ["scg-0", "scg-1"])

    def test_at_most_ten_ids(self):
        self.many(1)
        self.assertEqual(
            code_of(self.cloud.call("DescribeScalingGroups",
                                    ScalingGroupIds__11="scg-0")),
            (400, "InvalidParameter.ScalingGroupIds"))

    def test_paging(self):
        self.many(120)
        status, reply = self.cloud.call("DescribeScalingGroups")
        self.assertEqual(len(reply["Result"]["ScalingGroups"]), 10)
        self.assertEqual(reply["Result"]["TotalCount"], 120)
        seen = set()
        for page in (1, 2, 3):
            seen.update(self.ids(self.cloud.call(
                "DescribeScalingGroups", PageSize=50, PageNumber=page)))
        self.assertEqual(len(seen), 120)
        self.assertEqual(
            code_of(self.cloud.call("DescribeScalingGroups", PageSize=51)),
            (400, "InvalidParameter.PageSize"))

    def test_regions_are_separate(self):
        self.groups({"id": "scg-a", "region": "ap-southeast-1"},
                    {"id": "scg-b", "region": "ap-southeast-3"})
        self.assertEqual(self.ids(self.cloud.call(
            "DescribeScalingGroups", region="ap-southeast-3")), ["scg-b"])
        self.assertEqual(code_of(self.cloud.call(
            "ModifyScalingGroup", ScalingGroupId="scg-b")),
            (404, "NotFound.ScalingGroup"))

    def test_modify_converges_after_the_boot_delay(self):
        self.groups({"id": "scg-a", "desired": 3, "max": 10})
        status, _ = self.cloud.call("ModifyScalingGroup",
                                    ScalingGroupId="scg-a",
                                    DesireInstanceNumber=5)
        self.assertEqual(status, 200)
        group = self.group()
        self.assertEqual((group["desired"], group["total"],
                          group["in_service"], group["pending"]),
                         (5, 5, 3, 2))
        self.assertEqual(group["activities"][0]["status"], "Running")
        self.until(lambda: self.group()["in_service"] == 5, "never booted")
        self.assertEqual(self.group()["activities"][0]["status"], "Success")
        self.assertEqual(self.counters()["modify_applied"], 1)
        change = self.group()["history"][0]
        self.assertEqual((change["from"], change["to"], change["source"]),
                         (3, 5, "api"))

    def test_scale_in_removes_after_a_while(self):
        self.groups({"id": "scg-a", "desired": 5})
        self.cloud.call("ModifyScalingGroup", ScalingGroupId="scg-a",
                        DesireInstanceNumber=2)
        group = self.group()
        self.assertEqual((group["total"], group["in_service"],
                          group["removing"]), (5, 2, 3))
        self.until(lambda: self.group()["total"] == 2, "never removed")

    def test_in_service_count_by_total_count(self):
        self.groups({"id": "scg-a", "total": 9, "desired": 9, "pending": 2,
                     "failed": 1, "frozen": True})
        status, reply = self.cloud.call(
            "DescribeScalingInstances", ScalingGroupId="scg-a",
            Status="InService", PageSize=1)
        self.assertEqual(reply["Result"]["TotalCount"], 6)
        self.assertEqual(len(reply["Result"]["ScalingInstances"]), 1)
        _, reply = self.cloud.call("DescribeScalingGroups")
        self.assertEqual(
            reply["Result"]["ScalingGroups"][0]["TotalInstanceCount"], 9)

    def test_desired_outside_the_limits_is_refused(self):
        self.groups({"id": "scg-a", "min": 1, "max": 4, "desired": 2})
        for desired in (0, 5):
            self.assertEqual(
                code_of(self.cloud.call("ModifyScalingGroup",
                                        ScalingGroupId="scg-a",
                                        DesireInstanceNumber=desired)),
                (400, "InvalidParameter.DesireInstanceNumber"))
        self.assertEqual(self.group()["desired"], 2)
        self.assertEqual(self.counters()["modify_applied"], 0)
        self.assertEqual(code_of(self.cloud.call(
            "ModifyScalingGroup", ScalingGroupId="scg-a",
            DesireInstanceNumber=-1)),
            (400, "InvalidParameter.DesireInstanceNumber"))

    def test_expected_count_feature_off(self):
        self.groups({"id": "scg-a", "desired": -1, "total": 3, "max": 9})
        _, reply = self.cloud.call("DescribeScalingGroups")
        shown = reply["Result"]["ScalingGroups"][0]
        self.assertEqual((shown["DesireInstanceNumber"],
                          shown["TotalInstanceCount"]), (-1, 3))
        self.cloud.call("ModifyScalingGroup", ScalingGroupId="scg-a",
                        DesireInstanceNumber=4)
        self.assertEqual((self.group()["desired"], self.group()["total"]),
                         (4, 4))

    def test_suspended_process_keeps_the_change_from_happening(self):
        self.groups({"id": "scg-a", "desired": 1, "max": 9,
                     "suspended_processes": ["ScaleOut"]})
        self.cloud.call("ModifyScalingGroup", ScalingGroupId="scg-a",
                        DesireInstanceNumber=4)
        self.assertEqual((self.group()["desired"], self.group()["total"]),
                         (4, 1))
        self.cloud.control("PATCH", "groups/scg-a",
                           {"suspended_processes": []})
        self.assertEqual(self.group()["total"], 4)

    def test_inactive_group_takes_no_change(self):
        self.groups({"id": "scg-a", "lifecycle": "Locked", "max": 9})
        self.assertEqual(code_of(self.cloud.call(
            "ModifyScalingGroup", ScalingGroupId="scg-a",
            DesireInstanceNumber=4)),
            (400, "OperationDenied.LifecycleState"))

    def test_foreign_change_makes_an_activity(self):
        self.groups({"id": "scg-a", "desired": 1, "max": 9})
        self.cloud.control("PATCH", "groups/scg-a", {"desired": 3})
        group = self.group()
        self.assertEqual(group["history"][0]["source"], "control")
        self.assertEqual(len(group["activities"]), 1)
        self.assertEqual(self.counters()["modify_applied"], 0)
        with self.assertRaises(control.ControlError):
            self.cloud.control("PATCH", "groups/scg-a", {"desired": 30})

    def test_activity_spellings(self):
        self.groups({"id": "scg-a", "activities": [
            {"age": 100, "delta": 2, "status": "Success", "lasts": 60},
            {"age": 50, "delta": -1, "status": "Running"}]})
        expected = {"SCALE_OUT": {"SCALE_OUT", "SCALE_IN"},
                    "ScaleOut": {"ScaleOut", "ScaleIn"},
                    "unknown": {"CapacityRebalance"}, "absent": {None}}
        for spelling, words in expected.items():
            self.cloud.control("PATCH", "groups/scg-a",
                               {"type_spelling": spelling})
            _, reply = self.cloud.call("DescribeScalingActivities",
                                       ScalingGroupId="scg-a")
            self.assertEqual({a.get("ActivityType") for a in
                              reply["Result"]["ScalingActivities"]}, words)
        self.assertIn("PageNumer", reply["Result"])
        _, reply = self.cloud.call("DescribeScalingActivities",
                                   ScalingGroupId="scg-a",
                                   StatusCode="Running")
        self.assertEqual(reply["Result"]["TotalCount"], 1)

    def test_time_formats(self):
        self.groups({"id": "scg-a", "activities": [{"age": 0}]})
        shapes = {"z": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
                  "minutes": r"T\d\d:\d\dZ$", "offset": r"\+08:00$",
                  "fraction": r"\.\d{3}Z$"}
        for form, shape in shapes.items():
            self.cloud.control("PATCH", "groups/scg-a",
                               {"time_format": form})
            _, reply = self.cloud.call("DescribeScalingActivities",
                                       ScalingGroupId="scg-a")
            self.assertRegex(
                reply["Result"]["ScalingActivities"][0]["CreatedAt"], shape)

    def test_missing_group_id(self):
        self.assertEqual(code_of(self.cloud.call("ModifyScalingGroup")),
                         (400, "MissingParameter"))

    def test_wrong_action_version_and_method(self):
        self.assertEqual(code_of(self.cloud.call("DropEverything")),
                         (404, "InvalidActionOrVersion"))
        query = "Action=GetMetricData&Version=2018-01-01"
        headers = signature.sign_headers(KEY, SECRET, REGION, "volc_observe",
                                         "GET", self.cloud.host, query)
        self.assertEqual(self.cloud.raw("GET", query, b"", headers)[0], 405)


class Metrics(Cloud):
    """CloudMonitor: limits and traps."""

    def test_five_minutes_are_five_points(self):
        self.traffic(alb_a={"kind": "constant", "qps": 812.5})
        for service in ("Volc_Observe", "volc_observe", "cloudmonitor"):
            answer = self.cloud.metric(["alb-a"], service=service)
            points = series_of(answer)["alb-a"]
            self.assertEqual(set(points.values()), {812.5})
            self.assertEqual(len(points), 5)
            self.assertTrue(all(t % 60 == 0 for t in points))

    def test_points_and_results_are_not_in_order(self):
        self.traffic(**{"alb_%d" % i: {"kind": "constant", "qps": i}
                        for i in range(5)})
        asked = ["alb-%d" % i for i in range(5)]
        answer = self.cloud.metric(asked)
        series = series_of(answer)
        self.assertNotEqual(list(series), asked)
        self.assertNotEqual(list(series["alb-3"]), sorted(series["alb-3"]))
        self.assertEqual({a: set(p.values()) for a, p in series.items()},
                         {"alb-%d" % i: {i} for i in range(5)})

    def test_fifty_instances_and_not_one_more(self):
        albs = ["alb-%d" % i for i in range(51)]
        self.cloud.control("PUT", "traffic", {
            alb: {"kind": "constant", "qps": 1} for alb in albs})
        self.assertEqual(len(series_of(self.cloud.metric(albs[:50]))), 50)
        self.assertEqual(code_of(self.cloud.metric(albs)),
                         (400, "InvalidParameter.Instances"))

    def test_1440_points_per_request(self):
        albs = ["alb-%d" % i for i in range(50)]
        self.cloud.control("PUT", "traffic", {
            alb: {"kind": "constant", "qps": 1} for alb in albs})
        now = int(time.time())
        end = now - now % 60
        self.assertEqual(code_of(self.cloud.metric(
            albs, StartTime=end - 28 * 60, EndTime=end)), (200, None))
        self.assertEqual(code_of(self.cloud.metric(
            albs, StartTime=end - 29 * 60, EndTime=end)),
            (400, "InvalidParameter.DataPoints"))

    def test_time_range(self):
        now = int(time.time())
        for fields in ({"EndTime": now + 60},
                       {"StartTime": now - 86460, "EndTime": now - 59,
                        "Period": "5m"},
                       {"StartTime": now - 60, "EndTime": now - 60},
                       {"StartTime": now - 60, "EndTime": now - 120}):
            self.assertEqual(code_of(self.cloud.metric(["a"], **fields)),
                             (400, "InvalidParameter.EndTime"))

    def test_no_instances_means_all(self):
        self.traffic(alb_a={"kind": "constant", "qps": 1},
                     alb_b={"kind": "constant", "qps": 1})
        self.assertEqual(len(series_of(self.cloud.metric(None))), 2)

    def test_one_metric_per_call_and_required_fields(self):
        self.assertEqual(
            code_of(self.cloud.metric(["a"], MetricName=["x", "y"])),
            (400, "InvalidParameter.MetricName"))
        for name in ("Namespace", "SubNamespace", "MetricName", "EndTime"):
            self.assertEqual(code_of(self.cloud.metric(["a"],
                                                       **{name: None})),
                             (400, "MissingParameter"))

    def test_nulls_and_missing_series(self):
        self.traffic(
            alb_n={"kind": "constant", "qps": 1, "nulls": "newest"},
            alb_x={"kind": "constant", "qps": 1, "nulls": "all",
                   "null_as": "absent"},
            alb_e={"kind": "constant", "qps": 1, "series": "empty"},
            alb_o={"kind": "constant", "qps": 1, "series": "omit"},
            alb_p={"kind": "constant", "qps": 1, "series": "null_points"})
        series = series_of(self.cloud.metric(
            ["alb-n", "alb-x", "alb-e", "alb-o", "alb-p", "alb-unknown"]))
        newest = max(series["alb-n"])
        self.assertIsNone(series["alb-n"][newest])
        self.assertEqual(len([v for v in series["alb-n"].values()
                              if v == 1]), 4)
        self.assertEqual(set(series["alb-x"].values()), {None})
        self.assertEqual(series["alb-e"], {})
        self.assertEqual(series["alb-p"], {})
        self.assertNotIn("alb-o", series)
        self.assertNotIn("alb-unknown", series)

    def test_newest_bucket_is_incomplete(self):
        self.traffic(alb_a={"kind": "constant", "qps": 1000})
        # The cloud's clock is put to the middle of a minute.
        self.cloud.control("POST", "clock", {"offset": 30 - time.time() % 60})
        now = int(self.cloud.control("GET", "clock")["now"])
        start = now - now % 60
        points = series_of(self.cloud.metric(
            ["alb-a"], StartTime=start - 60, EndTime=now))["alb-a"]
        self.assertEqual(points[start - 60], 1000)
        self.assertTrue(400 < points[start] < 900, points)

    def test_explicit_points_keep_their_minutes(self):
        now = int(time.time())
        end = now - now % 60
        self.traffic(alb_a={"kind": "points", "points": {
            str(end - 60): 7, str(end - 180): 9, str(end - 120): None}})
        self.assertEqual(series_of(self.cloud.metric(
            ["alb-a"], StartTime=end - 300, EndTime=end))["alb-a"],
            {end - 60: 7, end - 180: 9, end - 120: None})

    def test_compressed_window_shows_simulated_minutes(self):
        self.cloud.control("POST", "clock", {"compress": 600,
                                             "sim_now": 86400 * 100})
        self.traffic(alb_a={"kind": "day", "low": 0, "high": 100,
                            "peak_hour": 12})
        points = series_of(self.cloud.metric(["alb-a"]))["alb-a"]
        values = list(points.values())
        self.assertLess(max(values) - min(values), 3)
        self.cloud.control("POST", "clock", {"advance": 12 * 3600})
        points = series_of(self.cloud.metric(["alb-a"]))["alb-a"]
        self.assertGreater(min(points.values()), 95)

    def test_methods_come_as_separate_series(self):
        self.traffic(alb_a={"kind": "constant", "qps": 100})
        _, reply = self.cloud.metric(["alb-a"],
                                     StatisticsMethods=["avg", "max"])
        found = {s["StatisticsMethods"]: s["DataPoints"][0]["Value"]
                 for s in reply["Result"]["Data"]["MetricDataResults"]}
        self.assertEqual(found, {"avg": 100, "max": 125})

    def test_healthy_backends_follow_the_group(self):
        self.groups({"id": "scg-a", "alb_id": "alb-a", "desired": 3})
        self.traffic(alb_a={"kind": "constant", "qps": 1})
        points = series_of(self.cloud.metric(
            ["alb-a"], SubNamespace="listener",
            MetricName="listener_healthy_rs_count"))["alb-a"]
        self.assertEqual(set(points.values()), {3})

    def test_rate_limit_when_it_is_on(self):
        self.cloud.control("POST", "options", {"metric_rate": 2})
        codes = [code_of(self.cloud.metric(["a"]))[0] for _ in range(3)]
        self.assertEqual(codes, [200, 200, 429])
