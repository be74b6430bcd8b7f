"""The BytePlus actions: CloudMonitor and AutoScaling.

Documented limits are enforced and documented traps reproduced; where the
documents leave the order or the presence of something open, the reply takes
the liberty, so that a client which relies on it is found out.
"""

import json
import math
import re
import time

import signature
from datapoints import METHODS, Window
from faults import span_of
from groups import is_count
from traffic import mix

MONITOR = ("Volc_Observe", "volc_observe", "cloudmonitor")
AUTOSCALING = ("auto_scaling",)
SERVICES = MONITOR + AUTOSCALING

MAX_METRIC_INSTANCES = 50
MAX_METRIC_POINTS = 1440
MAX_METRIC_RANGE = 86400        # seconds between StartTime and EndTime
MAX_GROUP_IDS = 10
MAX_PAGE_SIZE = 50
MAX_INSTANCE_IDS = 20

PERIOD_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
METRICS = {
    "loadbalancer": {
        "load_balancer_qps": "Count/Second",
        "load_balancer_qps_utilization": "Percent",
        "load_balancer_new_conn": "Count/Second",
        "load_balancer_active_conn": "Count",
        "load_balancer_max_conn": "Count",
        "load_balancer_response_time": "ms",
        "load_balancer_ups_response_time": "ms",
        **{"load_balancer_http_%s_send_count" % code: "Count/Second"
           for code in ("2xx", "3xx", "4xx", "5xx", "404", "500", "502",
                        "503", "504")}},
    "listener": {
        "listener_qps": "Count/Second",
        "listener_healthy_rs_count": "Count",
        "listener_unhealthy_rs_count": "Count",
        "listener_response_time": "ms"}}

_ARRAY_KEY = re.compile(r"([A-Za-z]+)\.(\d+)")
_PERIOD = re.compile(r"(\d{1,6})([smhdw])")


class ApiError(Exception):
    """A refusal; number is None where the vendor leaves CodeN out."""

    def __init__(self, status, code, message, number=None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.number = number


def invalid(name, message):
    """A refused parameter, in the dotted form of product codes."""
    return ApiError(400, "InvalidParameter." + name, message)


def missing(name):
    return ApiError(400, "MissingParameter",
                    "The required parameter %s is missing." % name, 100002)


class Request:
    """An API request, read as far as it can be without judging it."""

    def __init__(self, method, query, body, scope):
        self.method = method
        self.params = {}
        for name, value in signature.split_query(query):
            self.params[name.decode("utf-8", "replace")] = value.decode(
                "utf-8", "replace")
        self.action = self.params.get("Action", "")
        self.version = self.params.get("Version", "")
        self.service = scope.service if scope else ""
        self.region = scope.region if scope else ""
        self.request_id = ""
        self.body = None
        if method == "POST" and body:
            try:
                self.body = json.loads(body)
            except (ValueError, RecursionError):
                self.body = None
        self.instances = None       # Instances as read, None: malformed
        self.ids = self._ids()

    def _ids(self):
        """Every group or load balancer that the request names."""
        ids = [value for name, value in self.params.items()
               if name == "ScalingGroupId"
               or name.startswith("ScalingGroupIds.")]
        if isinstance(self.body, dict):
            instances = self.body.get("Instances")
            if isinstance(instances, list):
                self.instances = [dimensions_of(i) for i in instances]
                ids.extend([wanted["ResourceID"] for wanted in self.instances
                            if wanted and "ResourceID" in wanted])
        return ids

    def facts(self):
        """What faults are matched against."""
        return {"action": self.action, "service": self.service,
                "region": self.region, "ids": self.ids,
                "span": span_of(self.body)}

    def integer(self, name, default, low, high):
        """A whole number within bounds; default when it is not there."""
        text = self.params.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"-?\d{1,9}", text) or not (
                low <= int(text) <= high):
            raise invalid(name, "%s must be between %d and %d."
                          % (name, low, high))
        return int(text)

    def array(self, name, most):
        """Name.1, Name.2, ...: 1-based and at most so many."""
        found = {}
        for key, value in self.params.items():
            match = _ARRAY_KEY.fullmatch(key)
            if match and match.group(1) == name:
                index = int(match.group(2))
                if not 1 <= index <= most:
                    raise invalid(name, "%s.N: N must be between 1 and %d."
                                  % (name, most))
                found[index] = value
        return [found[index] for index in sorted(found)]

    def page(self):
        """(page number, page size)."""
        return (self.integer("PageNumber", 1, 1, 1000000),
                self.integer("PageSize", 10, 1, MAX_PAGE_SIZE))


def dimensions_of(instance):
    """An Instances element as name -> value; None when malformed."""
    if not isinstance(instance, dict):
        return None
    listed = instance.get("Dimensions")
    if not isinstance(listed, list) or not listed:
        return None
    found = {}
    for dimension in listed:
        if not isinstance(dimension, dict):
            return None
        name, value = dimension.get("Name"), dimension.get("Value")
        if not isinstance(name, str) or not isinstance(value, str):
            return None
        found[name] = value
    return found


class Api:
    """Answers requests from the state of the world."""

    def __init__(self, world):
        self.world = world
        self.actions = {
            "GetMetricData": (MONITOR, "2018-01-01", "POST",
                              self.get_metric_data),
            "DescribeScalingGroups": (AUTOSCALING, "2020-01-01", "GET",
                                      self.describe_groups),
            "DescribeScalingInstances": (AUTOSCALING, "2020-01-01", "GET",
                                         self.describe_instances),
            "DescribeScalingActivities": (AUTOSCALING, "2020-01-01", "GET",
                                          self.describe_activities),
            "ModifyScalingGroup": (AUTOSCALING, "2020-01-01", "GET",
                                   self.modify_group)}

    def answer(self, request):
        """Applies a request: (HTTP status, reply body)."""
        try:
            services, version, method, handler = self._route(request)
            result = handler(request)
        except ApiError as error:
            return error.status, self.refusal(request, error)
        return 200, ('{"ResponseMetadata":{%s},"Result":%s}' % (
            self._metadata(request), result)).encode()

    def refusal(self, request, error):
        """The error envelope."""
        shown = {"Code": error.code, "Message": error.message}
        if error.number is not None:
            shown["CodeN"] = error.number
        return ('{"ResponseMetadata":{%s,"Error":%s}}' % (
            self._metadata(request), json.dumps(shown))).encode()

    @staticmethod
    def _metadata(request):
        return ('"RequestId":%s,"Action":%s,"Version":%s,"Service":%s,'
                '"Region":%s' % tuple(json.dumps(text) for text in (
                    request.request_id, request.action, request.version,
                    request.service, request.region)))

    def _route(self, request):
        if not request.action:
            raise missing("Action")
        if not request.version:
            raise missing("Version")
        route = self.actions.get(request.action)
        if (route is None or request.service not in route[0]
                or request.version != route[1]):
            raise ApiError(404, "InvalidActionOrVersion",
                           "Could not find operation %s for version %s."
                           % (request.action, request.version), 100008)
        if request.method != route[2]:
            raise ApiError(405, "MethodNotAllowed",
                           "%s takes %s." % (request.action, route[2]),
                           100020)
        limiter = self.world.limiters.get(request.action)
        if limiter is not None and not limiter.take(time.monotonic()):
            raise ApiError(429, "FlowLimitExceeded",
                           "Request was rejected because of flow control.",
                           100018)
        return route

    # ---- CloudMonitor -----------------------------------------------------

    def get_metric_data(self, request):
        """GetMetricData: one metric of up to 50 instances."""
        body = request.body
        if not isinstance(body, dict):
            raise invalid("Body", "The body is not a JSON object.")
        for name in ("StartTime", "EndTime", "Namespace", "SubNamespace",
                     "MetricName"):
            if name not in body:
                raise missing(name)
        now = self.world.now()
        start, end, period = self._window(body, now)
        unit = self._metric(body)
        methods = self._methods(body)
        wanted = self._wanted(body, request)
        times = range(start, end, period)
        if len(times) * max(len(wanted), 1) * len(methods) \
                > MAX_METRIC_POINTS:
            raise invalid("DataPoints",
                          "max-select-point: a request may return at most "
                          "%d data points." % MAX_METRIC_POINTS)
        window = Window(self.world, now, times, period,
                        body["SubNamespace"], body["MetricName"])
        results = []
        for alb_id, dimensions in wanted:
            for method in methods:
                shown = window.series(alb_id, dimensions, method)
                if shown is not None:
                    results.append(shown)
        if self.world.options["stray_series"] and results:
            results.append(window.stray())
        if self.world.options["result_order"] == "mixed":
            results = mix(results)
        return ('{"Data":{"Namespace":"VCM_ALB","MetricName":%s,'
                '"Period":"%ds","Unit":"%s","StartTime":%d,"EndTime":%d,'
                '"DescriptionCN":"","DescriptionEN":"",'
                '"MetricDataResults":[%s]}}' % (
                    json.dumps(body["MetricName"]), period, unit, start, end,
                    ",".join(results)))

    @staticmethod
    def _window(body, now):
        """(start, end, period) in seconds, shifted to the period."""
        start, end = body["StartTime"], body["EndTime"]
        if not is_count(start):
            raise invalid("StartTime", "StartTime must be a Unix time.")
        if not is_count(end):
            raise invalid("EndTime", "EndTime must be a Unix time.")
        if end <= start:
            raise invalid("EndTime", "EndTime must be after StartTime.")
        if end > now:
            raise invalid("EndTime", "EndTime must not be in the future.")
        if end - start > MAX_METRIC_RANGE:
            raise invalid("EndTime", "The range must not exceed %d seconds."
                          % MAX_METRIC_RANGE)
        text = body.get("Period", "1m")
        match = _PERIOD.fullmatch(text) if isinstance(text, str) else None
        if match is None or int(match.group(1)) == 0:
            raise invalid("Period", "Period is not valid.")
        period = int(match.group(1)) * PERIOD_UNITS[match.group(2)]
        if (end - start) // period > 100 * MAX_METRIC_POINTS:
            raise invalid("Period", "max-select-bucket exceeded.")
        return start - start % period, end, period

    @staticmethod
    def _metric(body):
        if body["Namespace"] != "VCM_ALB":
            raise invalid("Namespace", "Namespace is not known.")
        known = (METRICS.get(body["SubNamespace"])
                 if isinstance(body["SubNamespace"], str) else None)
        if known is None:
            raise invalid("SubNamespace", "SubNamespace is not known.")
        metric = body["MetricName"]
        if not isinstance(metric, str) or metric not in known:
            raise invalid("MetricName", "MetricName is not one known metric.")
        return known[metric]

    @staticmethod
    def _methods(body):
        methods = body.get("StatisticsMethods") or ["avg"]
        if not isinstance(methods, list) or any(
                not isinstance(m, str) or m not in METHODS for m in methods):
            raise invalid("StatisticsMethods", "A method is not known.")
        return methods

    def _wanted(self, body, request):
        """[(load balancer, dimensions)]; no Instances means all of them."""
        instances = body.get("Instances")
        if instances is None or instances == []:
            return [(lb.alb_id, None)
                    for lb in self.world.traffic.balancers.values()
                    if lb.region in (None, request.region)]
        if not isinstance(instances, list):
            raise invalid("Instances", "Instances must be an array.")
        if len(instances) > MAX_METRIC_INSTANCES:
            raise invalid("Instances", "At most %d instances per request."
                          % MAX_METRIC_INSTANCES)
        wanted = {}
        for dimensions in request.instances:
            if dimensions is None:
                raise invalid("Instances", "Dimensions are malformed.")
            alb_id = dimensions.get("ResourceID")
            balancer = self.world.traffic.balancers.get(alb_id)
            if balancer is not None and balancer.region in (
                    None, request.region):
                wanted[alb_id] = dimensions
        return list(wanted.items())

    # ---- AutoScaling ------------------------------------------------------

    def _listing(self, name, items, total, page, size):
        shown = list(items)
        if self.world.options["result_order"] == "mixed":
            shown = mix(shown)
        return ('{"%s":[%s],"TotalCount":%d,"PageNumber":%d,"PageSize":%d}'
                % (name, ",".join(shown), total, page, size))

    def describe_groups(self, request):
        """DescribeScalingGroups, with the trap for ids that do not exist."""
        page, size = request.page()
        ids = request.array("ScalingGroupIds", MAX_GROUP_IDS)
        names = request.array("ScalingGroupNames", MAX_GROUP_IDS)
        now = self.world.now()
        if ids:
            found = self._by_id(ids, request.region)
        else:
            found = self.world.groups.in_region(request.region)
        if names:
            found = [g for g in found
                     if (g.settings["name"] or g.id) in names]
        shown = found[(page - 1) * size:page * size]
        for group in shown:
            group.advance(now)
        return self._listing("ScalingGroups", [g.json() for g in shown],
                             len(found), page, size)

    def _by_id(self, ids, region):
        """Groups by id: "if the scaling groups you query do not exist,
        other scaling groups are queried"."""
        store = self.world.groups.by_id
        found, unknown = {}, 0
        for group_id in ids:
            group = store.get(group_id)
            if group is None or group.settings["region"] not in (None,
                                                                 region):
                unknown += 1
            else:
                found[group_id] = group
        mode = self.world.options["unknown_ids"]
        if unknown and mode == "error":
            raise ApiError(404, "NotFound.ScalingGroup",
                           "A scaling group does not exist.")
        if not unknown or mode == "omit":
            return list(found.values())
        here = self.world.groups.in_region(region)
        if not found:
            return here
        others = [g for g in here if g.id not in ids][:unknown]
        return others + list(found.values())

    def _group(self, request):
        group_id = request.params.get("ScalingGroupId")
        if not group_id:
            raise missing("ScalingGroupId")
        group = self.world.groups.by_id.get(group_id)
        if group is None or group.settings["region"] not in (
                None, request.region):
            raise ApiError(404, "NotFound.ScalingGroup",
                           "The scaling group does not exist.")
        group.advance(self.world.now())
        return group

    def describe_instances(self, request):
        """DescribeScalingInstances of one group."""
        page, size = request.page()
        group = self._group(request)
        ids = request.array("InstanceIds", MAX_INSTANCE_IDS)
        status = request.params.get("Status")
        creation = request.params.get("CreationType", "AutoCreated")
        if creation not in ("AutoCreated", "Attached"):
            raise invalid("CreationType", "CreationType is not known.")
        found = [i for i in group.instances
                 if (status is None or i.status == status)
                 and (not ids or i.id in ids) and creation == "AutoCreated"]
        shown = found[(page - 1) * size:page * size]
        return self._listing(
            "ScalingInstances",
            [json.dumps(group.describe_instance(i)) for i in shown],
            len(found), page, size)

    def describe_activities(self, request):
        """DescribeScalingActivities; spells the page field as documented."""
        page, size = request.page()
        group = self._group(request)
        ids = request.array("ScalingActivityIds", 20)
        codes = request.array("StatusCodes", 20)
        if "StatusCode" in request.params:
            codes.append(request.params["StatusCode"])
        since = self._minute(request, "StartTime", -math.inf)
        until = self._minute(request, "EndTime", math.inf)
        found = [a for a in group.activities
                 if (not codes or a.status in codes)
                 and (not ids or a.id in ids)
                 and since <= a.created <= until]
        order = group.settings["activity_order"]
        found.sort(key=lambda a: a.created, reverse=order != "oldest_first")
        shown = found[(page - 1) * size:page * size]
        if order == "mixed":
            shown = mix(shown)
        return ('{"ScalingActivities":[%s],"TotalCount":%d,"PageNumer":%d,'
                '"PageSize":%d}' % (
                    ",".join(json.dumps(group.describe_activity(a))
                             for a in shown), len(found), page, size))

    @staticmethod
    def _minute(request, name, default):
        text = request.params.get(name)
        if text is None:
            return default
        for form in ("%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ"):
            try:
                return signature.calendar.timegm(time.strptime(text, form))
            except ValueError:
                pass
        raise invalid(name, "%s must look like 2021-09-06T07:37Z." % name)

    def modify_group(self, request):
        """ModifyScalingGroup: absolute numbers, limits enforced."""
        group = self._group(request)
        ceiling = self.world.options["quota"]
        minimum = request.integer("MinInstanceNumber", group.minimum, 0,
                                  ceiling)
        maximum = request.integer("MaxInstanceNumber", group.maximum, 0,
                                  ceiling)
        desired = request.integer("DesireInstanceNumber", None, 0, ceiling)
        cooldown = request.integer("DefaultCooldown", None, 5, 86400)
        self.resize(group, minimum, maximum, desired, request.request_id,
                    "api")
        if cooldown is not None:
            group.settings["cooldown"] = cooldown
        self.world.ledger.modify_applied += 1
        return '{"ScalingGroupId":%s}' % json.dumps(group.id)

    def resize(self, group, minimum, maximum, desired, cause, source):
        """Checks what the cloud checks, then changes the group."""
        if minimum > maximum:
            raise invalid("MinInstanceNumber",
                          "MinInstanceNumber exceeds MaxInstanceNumber.")
        if desired is None:
            desired = group.desired
        if desired != -1 and not minimum <= desired <= maximum:
            raise invalid("DesireInstanceNumber",
                          "DesireInstanceNumber must be between "
                          "MinInstanceNumber and MaxInstanceNumber.")
        if group.settings["lifecycle"] not in ("Active", "CoolingDown"):
            raise ApiError(400, "OperationDenied.LifecycleState",
                           "The scaling group is %s."
                           % group.settings["lifecycle"])
        if group.settings["busy"] == "reject" and group.running_activity():
            raise ApiError(400, "OperationDenied.ScalingActivityInProgress",
                           "A scaling activity is in progress.")
        group.resize(minimum, maximum, desired, self.world.now(), cause,
                     source)
