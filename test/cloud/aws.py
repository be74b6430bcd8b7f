"""The AWS actions: EC2 Auto Scaling (Query protocol) and CloudWatch (JSON).

Of Elastic Load Balancing there is DescribeTargetGroups.

The same groups and load balancers as BytePlus', shown as AWS shows them, with
AWS' limits: a hundred names a call only with MaxRecords=100, unknown names left
out without a word, RequestCount only where there were requests, five hundred
queries a call.  A load balancer is known by the end of its ARN,
"app/NAME/ID"; the target group of scaling group "web" is
"targetgroup/web/" and sixteen digits made from its name.
"""

import json
import re
import time
import urllib.parse
import zlib
from xml.sax.saxutils import escape

import aws_identity
from faults import span_of

AUTOSCALING, MONITORING = "autoscaling", "monitoring"
STS = "sts"
BALANCING = "elasticloadbalancing"
SERVICES = (AUTOSCALING, MONITORING, STS, BALANCING)
NAMESPACE = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
BALANCING_NAMESPACE = ("http://elasticloadbalancing.amazonaws.com/doc/"
                       "2015-12-01/")
TARGET = "GraniteServiceVersion20100801."
ACCOUNT = "123456789012"

# By what a metric of a namespace is found here; the script of a scaling group's
# metrics is that of a load balancer with the group's name.
DIMENSION_OF = {"AWS/ApplicationELB": "LoadBalancer",
                "AWS/EC2": "AutoScalingGroupName",
                "CWAgent": "AutoScalingGroupName"}

# Metrics that a script may have, and the statistic that makes sense of them;
# sums are scripted per second, and not published where there is nothing.
FURTHER_METRICS = {"CPUUtilization": "Average", "mem_used_percent": "Average",
                   "TargetResponseTime": "Average",
                   "HTTPCode_Target_5XX_Count": "Sum",
                   "HTTPCode_ELB_5XX_Count": "Sum"}

MAX_QUERIES = 500
MAX_POINTS = 100800
MINUTES_KEPT = 15 * 86400       # seconds; then only longer periods are kept

_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")
_MEMBER = re.compile(r"(\w+)\.member\.(\d+)")

LIFECYCLES = {"Init": "Pending", "Pending": "Pending",
              "Pending:Wait": "Pending:Wait", "InService": "InService",
              "Protected": "InService", "Error": "InService",
              "Removing": "Terminating", "Removing:Wait": "Terminating:Wait",
              "Stopped": "Standby", "Standby": "Standby"}
PROCESSES = {"ScaleOut": "Launch", "ScaleIn": "Terminate",
             "HealthCheck": "HealthCheck",
             "AlarmNotification": "AlarmNotification",
             "ScheduledAction": "ScheduledActions"}


class AwsError(Exception):
    """A refusal."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid(message):
    return AwsError(400, "ValidationError", message)


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def target_group(group_id):
    """What a target group's metrics are known by."""
    return "targetgroup/%s/%016x" % (
        re.sub(r"[^A-Za-z0-9-]", "-", group_id)[:32],
        zlib.crc32(group_id.encode()))


class Request:
    """An API request, read as far as it can be without judging it."""

    def __init__(self, message, body, scope):
        self.method = message.method
        self.service = scope.service if scope else ""
        self.region = scope.region if scope else ""
        self.request_id = ""
        self.params = {}
        self.body = None
        target = message.headers.get("x-amz-target", "")
        self.json = target.startswith(TARGET)
        self.content_type = message.headers.get("content-type", "")
        self.instances = None
        self.queries = []
        if self.json:
            self.action = target[len(TARGET):]
            try:
                self.body = json.loads(body)
            except (ValueError, RecursionError):
                self.body = None
            if isinstance(self.body, dict):
                queries = self.body.get("MetricDataQueries")
                self.queries = queries if isinstance(queries, list) else []
        else:
            for name, value in urllib.parse.parse_qsl(
                    body.decode("utf-8", "replace"), keep_blank_values=True):
                self.params[name] = value
            self.action = self.params.get("Action", "")
        self.ids = self._ids()
        # the log shows what a change asks for under one name
        if "DesiredCapacity" in self.params:
            self.params["DesireInstanceNumber"] = self.params[
                "DesiredCapacity"]

    def _ids(self):
        ids = [v for k, v in self.params.items()
               if k == "AutoScalingGroupName"
               or k.startswith("AutoScalingGroupNames.")]
        for query in self.queries:
            ids.extend(dimensions(query).values())
        return ids

    def facts(self):
        """What faults are matched against."""
        return {"action": self.action, "service": self.service,
                "region": self.region, "ids": self.ids,
                "span": span_of(self.body)}

    def integer(self, name, default, low, high):
        text = self.params.get(name)
        if text is None and default is not None:
            return default
        if text is None or not re.fullmatch(r"-?\d{1,9}", text):
            raise invalid("Value at '%s' failed to satisfy constraint." % name)
        if not low <= int(text) <= high:
            raise invalid("Value '%s' at '%s' must be between %d and %d."
                          % (text, name, low, high))
        return int(text)

    def members(self, name):
        """Name.member.1, Name.member.2, ..."""
        found = {}
        for key, value in self.params.items():
            match = _MEMBER.fullmatch(key)
            if match and match.group(1) == name:
                found[int(match.group(2))] = value
        return [found[index] for index in sorted(found)]


def dimensions(query):
    """Name -> value of a metric query's dimensions; {} when malformed."""
    try:
        listed = query["MetricStat"]["Metric"]["Dimensions"]
        return {d["Name"]: d["Value"] for d in listed}
    except (TypeError, KeyError):
        return {}


class Api:
    """Answers requests from the state of the world."""

    def __init__(self, world):
        self.world = world
        self.forms = {
            "DescribeAutoScalingGroups": self.describe_groups,
            "SetDesiredCapacity": self.set_desired,
            "DescribeScalingActivities": self.describe_activities}

    @staticmethod
    def content_type(request):
        return "application/x-amz-json-1.0" if request.json else "text/xml"

    def answer(self, request):
        """Applies a request: (HTTP status, reply body)."""
        try:
            if request.service == STS and request.action == "AssumeRole":
                return aws_identity.assume_role(
                    self.world.identity, request.params, self.world.now())
            if request.json:
                return 200, self._json(request)
            return 200, self._form(request)
        except AwsError as error:
            return error.status, self.refusal(request, error)

    def refusal(self, request, error):
        """An error as the service writes it."""
        if request.json:
            return json.dumps({
                "__type": "com.amazonaws.cloudwatch#%s" % error.code,
                "message": error.message}).encode()
        return ('<ErrorResponse xmlns="%s"><Error><Type>%s</Type><Code>%s'
                '</Code><Message>%s</Message></Error><RequestId>%s'
                '</RequestId></ErrorResponse>' % (
                    NAMESPACE, "Sender" if error.status < 500 else "Receiver",
                    escape(error.code), escape(error.message),
                    request.request_id)).encode()

    def _form(self, request):
        if request.service == BALANCING:
            return self._balancing(request)
        handler = self.forms.get(request.action)
        if request.service != AUTOSCALING or handler is None:
            raise AwsError(400, "InvalidAction",
                           "Could not find operation %s for version %s."
                           % (request.action, request.params.get("Version")))
        if request.params.get("Version") != "2011-01-01":
            raise AwsError(400, "InvalidAction", "No such version.")
        if request.method != "POST" or not request.content_type.startswith(
                "application/x-www-form-urlencoded"):
            raise AwsError(400, "MalformedInput", "A form is expected.")
        limiter = self.world.limiters.get("autoscaling")
        if limiter is not None and not limiter.take(time.monotonic()):
            raise AwsError(400, "Throttling", "Rate exceeded")
        result = handler(request)
        return ('<%sResponse xmlns="%s">%s<ResponseMetadata><RequestId>%s'
                '</RequestId></ResponseMetadata></%sResponse>' % (
                    request.action, NAMESPACE,
                    "" if result is None else "<%sResult>%s</%sResult>" % (
                        request.action, result, request.action),
                    request.request_id, request.action)).encode()

    # ---- Elastic Load Balancing -------------------------------------------

    def _balancing(self, request):
        if request.action != "DescribeTargetGroups" \
                or request.params.get("Version") != "2015-12-01":
            raise AwsError(400, "InvalidAction",
                           "Could not find operation %s for version %s."
                           % (request.action, request.params.get("Version")))
        return ('<%sResponse xmlns="%s"><%sResult>%s</%sResult>'
                '<ResponseMetadata><RequestId>%s</RequestId>'
                '</ResponseMetadata></%sResponse>' % (
                    request.action, BALANCING_NAMESPACE, request.action,
                    self.describe_target_groups(request), request.action,
                    request.request_id, request.action)).encode()

    def describe_target_groups(self, request):
        """All of the region, by pages of at most PageSize."""
        most = request.integer("PageSize", 400, 1, 400)
        most = min(most, self.world.options["aws_page"] or most)
        found = sorted((g for g in self.world.groups.in_region(request.region)
                        if g.settings["alb_id"] is not None),
                       key=lambda g: g.id)
        after = request.params.get("Marker")
        if after is not None:
            found = [g for g in found if g.id > after]
        marker = ""
        if len(found) > most:
            marker = "<NextMarker>%s</NextMarker>" % escape(
                found[most - 1].id)
        return "<TargetGroups>%s</TargetGroups>%s" % (
            "".join("<member><TargetGroupArn>%s</TargetGroupArn>"
                    "<TargetGroupName>%s</TargetGroupName><LoadBalancerArns>"
                    "<member>%s</member></LoadBalancerArns></member>" % (
                        self._arn(request.region, target_group(g.id)),
                        escape(g.id),
                        self._arn(request.region, "loadbalancer/"
                                  + escape(g.settings["alb_id"])))
                    for g in found[:most]), marker)

    @staticmethod
    def _arn(region, resource):
        return "arn:aws:elasticloadbalancing:%s:%s:%s" % (region, ACCOUNT,
                                                          resource)

    # ---- Auto Scaling -----------------------------------------------------

    def _find(self, name, region):
        group = self.world.groups.by_id.get(name)
        if group is None or group.settings["region"] not in (None, region):
            return None
        group.advance(self.world.now())
        return group

    def _group(self, request):
        name = request.params.get("AutoScalingGroupName")
        if not name:
            raise invalid("AutoScalingGroupName is required.")
        group = self._find(name, request.region)
        if group is None:
            raise invalid("AutoScalingGroup name not found - "
                          "AutoScalingGroup '%s' not found" % name)
        return group

    def describe_groups(self, request):
        """Up to MaxRecords names; unknown ones are left out."""
        most = request.integer("MaxRecords", 50, 1, 100)
        names = request.members("AutoScalingGroupNames")
        if len(names) > most:
            raise invalid("The number of AutoScalingGroupNames must not "
                          "exceed MaxRecords (%d)." % most)
        if names:
            found = [self._find(n, request.region) for n in sorted(set(names))]
            found = [g for g in found if g is not None]
        else:
            found = sorted(self.world.groups.in_region(request.region),
                           key=lambda g: g.id)
            for group in found:
                group.advance(self.world.now())
        after = request.params.get("NextToken")
        if after is not None:
            found = [g for g in found if g.id > after]
        most = min(most, self.world.options["aws_page"] or most)
        shown = found[:most]
        instances = request.params.get("IncludeInstances", "true") != "false"
        token = ""
        if len(found) > len(shown):
            token = "<NextToken>%s</NextToken>" % escape(shown[-1].id)
        return "<AutoScalingGroups>%s</AutoScalingGroups>%s" % (
            "".join(self._show(g, request.region, instances) for g in shown),
            token)

    def _show(self, group, region, instances):
        desired = group.desired if group.desired >= 0 else group.alive()
        arn = self._arn(region, target_group(group.id))
        parts = [
            "<member><AutoScalingGroupName>%s</AutoScalingGroupName>"
            % escape(group.id),
            # decoys: sizes that are not the group's own
            "<WarmPoolConfiguration><MinSize>77</MinSize>"
            "</WarmPoolConfiguration>",
            "<MinSize>%d</MinSize><MaxSize>%d</MaxSize>"
            "<DesiredCapacity>%d</DesiredCapacity>"
            "<DefaultCooldown>%d</DefaultCooldown>" % (
                group.minimum, group.maximum, desired,
                group.settings["cooldown"])]
        if group.settings["alb_id"] is not None:
            parts.append("<TargetGroupARNs><member>%s</member>"
                         "</TargetGroupARNs>" % arn)
        if instances:
            parts.append("<Instances>%s</Instances>" % "".join(
                "<member><InstanceId>%s</InstanceId><LifecycleState>%s"
                "</LifecycleState><HealthStatus>%s</HealthStatus>"
                "<ProtectedFromScaleIn>%s</ProtectedFromScaleIn></member>" % (
                    escape(i.id), LIFECYCLES.get(i.status, "Pending"),
                    "Unhealthy" if i.status == "Error" else "Healthy",
                    "true" if i.status == "Protected" else "false")
                for i in group.instances))
        parts.append("<SuspendedProcesses>%s</SuspendedProcesses>" % "".join(
            "<member><ProcessName>%s</ProcessName><SuspensionReason>User "
            "suspended</SuspensionReason></member>" % PROCESSES[p]
            for p in group.settings["suspended_processes"]))
        if group.settings["lifecycle"] == "Deleting":
            parts.append("<Status>Delete in progress</Status>")
        parts.append("<CreatedTime>%s</CreatedTime></member>"
                     % iso(group.created))
        return "".join(parts)

    def set_desired(self, request):
        """SetDesiredCapacity: absolute, within the group's limits."""
        group = self._group(request)
        desired = request.integer("DesiredCapacity", None, -2**31, 2**31)
        honor = request.params.get("HonorCooldown", "false") == "true"
        if desired > group.maximum:
            raise invalid("New SetDesiredCapacity value %d is above max value "
                          "%d for the AutoScalingGroup."
                          % (desired, group.maximum))
        if desired < group.minimum:
            raise invalid("New SetDesiredCapacity value %d is below min value "
                          "%d for the AutoScalingGroup."
                          % (desired, group.minimum))
        if group.settings["lifecycle"] == "Deleting":
            raise AwsError(500, "ResourceContention",
                           "You already have a pending update to an Amazon "
                           "EC2 Auto Scaling resource.")
        if honor and group.running_activity():
            raise AwsError(400, "ScalingActivityInProgress",
                           "Scaling activity in progress.")
        group.resize(group.minimum, group.maximum, desired, self.world.now(),
                     request.request_id, "api")
        self.world.ledger.modify_applied += 1

    def describe_activities(self, request):
        """One activity for each instance, those that run first."""
        group = self._group(request)
        most = request.integer("MaxRecords", 100, 1, 100)
        rows = []
        for activity in group.activities:
            for number, instance in enumerate(activity.instances):
                rows.append((activity, number, instance))
        rows.sort(key=lambda r: (r[0].running, r[0].created), reverse=True)
        return "<Activities>%s</Activities>" % "".join(
            self._show_activity(group, *row) for row in rows[:most])

    @staticmethod
    def _show_activity(group, activity, number, instance):
        launch = activity.delta > 0
        status = ("InProgress" if activity.running else
                  "Successful" if activity.status in ("Success",
                                                      "PartialSuccess")
                  else "Failed")
        end = ""
        if activity.stopped is not None:
            end = "<EndTime>%s</EndTime>" % iso(activity.stopped)
        return (
            "<member><ActivityId>%s-%d</ActivityId><AutoScalingGroupName>%s"
            "</AutoScalingGroupName><Description>%s</Description><Cause>At "
            "%s a user request explicitly set group desired capacity.</Cause>"
            "<StartTime>%s</StartTime>%s<StatusCode>%s</StatusCode>"
            "<Progress>%d</Progress></member>" % (
                escape(activity.id), number, escape(group.id),
                ("Launching a new EC2 instance: " if launch
                 else "Terminating EC2 instance: ") + escape(instance),
                iso(activity.created), iso(activity.created), end, status,
                50 if activity.running else 100))

    # ---- CloudWatch -------------------------------------------------------

    def _json(self, request):
        if request.service != MONITORING or request.action != "GetMetricData":
            raise AwsError(400, "UnknownOperationException", "")
        if not isinstance(request.body, dict):
            raise AwsError(400, "SerializationException", "Not an object.")
        limiter = self.world.limiters.get("GetMetricData")
        if limiter is not None and not limiter.take(time.monotonic()):
            raise AwsError(400, "ThrottlingException", "Rate exceeded")
        return json.dumps(self.get_metric_data(request)).encode()

    def get_metric_data(self, request):
        body = request.body
        start, end = body.get("StartTime"), body.get("EndTime")
        for name, value in (("StartTime", start), ("EndTime", end)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise AwsError(400, "ValidationError",
                               "The parameter %s is required." % name)
        if end <= start:
            raise AwsError(400, "ValidationError",
                           "The parameter EndTime must be greater than "
                           "StartTime.")
        queries = request.queries
        if not 1 <= len(queries) <= MAX_QUERIES:
            raise AwsError(400, "ValidationError",
                           "The collection MetricDataQueries must have a size "
                           "between 1 and %d." % MAX_QUERIES)
        self.world.ledger.metrics_asked += len(queries)
        points = 0
        results = []
        seen = set()
        for query in queries:
            name = query.get("Id") if isinstance(query, dict) else None
            if not isinstance(name, str) or not _ID.fullmatch(name) \
                    or name in seen:
                raise AwsError(400, "ValidationError",
                               "The value for parameter Id is not valid.")
            seen.add(name)
            times, values = self._series(query, start, end, request.region)
            points += int((end - start) // query["MetricStat"]["Period"])
            if points > MAX_POINTS:
                raise AwsError(400, "ValidationError",
                               "You have requested more than %d data points."
                               % MAX_POINTS)
            if body.get("ScanBy", "TimestampDescending") != \
                    "TimestampAscending":
                times, values = times[::-1], values[::-1]
            results.append({"Id": name, "Label": name, "Timestamps": times,
                            "Values": values, "StatusCode": "Complete"})
        return self._page(body, results)

    def _page(self, body, results):
        """In pages of so many points per series, if a test wants pages."""
        most = self.world.options["aws_points_page"]
        token = body.get("NextToken")
        first = int(token) if isinstance(token, str) and token.isdigit() else 0
        more = False
        if most:
            for result in results:
                rest = len(result["Values"]) > first + most
                more = more or rest
                for name in ("Timestamps", "Values"):
                    result[name] = result[name][first:first + most]
                if rest:
                    result["StatusCode"] = "PartialData"
        reply = {"MetricDataResults": results, "Messages": []}
        if more:
            reply["NextToken"] = str(first + most)
        return reply

    def _series(self, query, start, end, region):
        """(times, values) of one query, oldest first."""
        stat = query.get("MetricStat")
        try:
            metric = stat["Metric"]
            period = stat["Period"]
            name = metric["MetricName"]
            namespace = metric["Namespace"]
        except (TypeError, KeyError):
            raise AwsError(400, "ValidationError",
                           "MetricStat is not valid.") from None
        if not isinstance(period, int) or period <= 0 or period % 60:
            raise AwsError(400, "ValidationError",
                           "The parameter Period must be a multiple of 60.")
        dimension = DIMENSION_OF.get(namespace)
        if dimension is None:
            return [], []
        named = dimensions(query)
        balancer = self.world.traffic.balancers.get(named.get(dimension))
        if balancer is None or balancer.region not in (None, region):
            return [], []
        now = self.world.now()
        sim_now = self.world.sim_now()
        times = range(int(start) - int(start) % period, int(end), period)
        found = []
        for at in times:
            if at + 60 > now - balancer.lag or (
                    period < 300 and at < now - MINUTES_KEPT):
                continue
            value = self._value(balancer, name, named, stat.get("Stat"),
                                sim_now - (now - at), period, now)
            if value is not None:
                found.append((float(at), value))
        return [t for t, _ in found], [v for _, v in found]

    def _per_target(self, balancer, named, sim, period, now):
        qps = balancer.curve(sim)
        for group in self.world.groups.of_alb(balancer.alb_id):
            if target_group(group.id) == named.get("TargetGroup"):
                group.advance(now)
                serving = group.count("InService", "Protected")
                return round(qps * period / serving, 3) \
                    if qps and serving else None
        return None

    def _value(self, balancer, name, named, stat, sim, period, now):
        if name == "HealthyHostCount":
            for group in self.world.groups.of_alb(balancer.alb_id):
                if target_group(group.id) == named.get("TargetGroup"):
                    group.advance(now)
                    return float(group.count("InService", "Protected"))
            return None
        if name == "RequestCountPerTarget" and stat == "Sum":
            return self._per_target(balancer, named, sim, period, now)
        if len(named) != 1 or balancer.series != "normal":
            return None
        if name in FURTHER_METRICS and stat == FURTHER_METRICS[name]:
            curve = balancer.metrics.get(name)
            value = curve(sim) if curve else None
            if stat == "Sum" and value is not None:
                value = round(value * period, 3) or None
            return value
        if name != "RequestCount" or stat != "Sum":
            return None
        qps = balancer.curve(sim)
        if qps is None or qps != qps or qps <= 0:
            return None         # published only where there were requests
        return round(qps * period, 3)
