"""Scaling groups that converge slowly, as real ones do.

A change of the desired number starts an activity; instances are Pending until
they have booted, Removing until they have gone.  Nothing ticks: a group is
brought up to the present whenever somebody looks at it.
"""

import json
import time

NEVER = float("inf")
MAX_ACTIVITIES = 1000           # that a group keeps
MAX_HISTORY = 100000            # changes of which it keeps a record

LIFECYCLES = ("Active", "InActive", "Deleting", "Locked", "CoolingDown",
              "Unknown", "Error")
PROCESSES = ("ScaleIn", "ScaleOut", "HealthCheck", "AlarmNotification",
             "ScheduledAction")
RESULTS = ("Success", "PartialSuccess", "Error", "Rejected", "Exception")
TIME_FORMATS = ("z", "minutes", "offset", "fraction", "space", "garbage",
                "empty")
TYPE_SPELLINGS = {
    "SCALE_OUT": ("SCALE_OUT", "SCALE_IN"),
    "ScaleOut": ("ScaleOut", "ScaleIn"),
    "scale_out": ("scale_out", "scale_in"),
    "unknown": ("CapacityRebalance", "CapacityRebalance"),
    "absent": (None, None),
}
STATUS_SPELLINGS = ("normal", "upper", "lower", "unknown")
ACTIVITY_ORDERS = ("mixed", "newest_first", "oldest_first")

# Plain settings of a group: name -> (default, check).
SETTINGS = {
    "name": (None, lambda v: v is None or isinstance(v, str)),
    "region": (None, lambda v: v is None or isinstance(v, str)),
    "alb_id": (None, lambda v: v is None or isinstance(v, str)),
    "lifecycle": ("Active", lambda v: v in LIFECYCLES),
    "suspended_processes": ([], lambda v: isinstance(v, list)
                            and all(p in PROCESSES for p in v)),
    "boot_delay": (None, lambda v: v is None or (is_number(v) and v >= 0)),
    "drain_delay": (None, lambda v: v is None or (is_number(v) and v >= 0)),
    "cooldown": (300, lambda v: is_count(v)),
    "busy": ("accept", lambda v: v in ("accept", "reject")),
    "activity_result": ("Success", lambda v: v in RESULTS),
    "type_spelling": ("SCALE_OUT", lambda v: v in TYPE_SPELLINGS),
    "status_spelling": ("normal", lambda v: v in STATUS_SPELLINGS),
    "time_format": ("z", lambda v: v in TIME_FORMATS),
    "activity_order": ("mixed", lambda v: v in ACTIVITY_ORDERS),
    "unsigned_adjustment": (False, lambda v: isinstance(v, bool)),
}
COUNTS = {"pending": "Pending", "removing": "Removing", "failed": "Error",
          "protected": "Protected", "stopped": "Stopped"}
OTHER_KEYS = {"id", "min", "max", "desired", "total", "activities", "frozen",
              "converge"}


def is_number(value):
    """A real number; JSON's true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value):
    """A whole number from 0 up."""
    return (isinstance(value, int) and not isinstance(value, bool)
            and value >= 0)


def format_time(seconds, form):
    """A time in one of the spellings seen in the vendor's documents."""
    if form == "minutes":
        return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(seconds))
    if form == "offset":
        return time.strftime("%Y-%m-%dT%H:%M:%S+08:00",
                             time.gmtime(seconds + 8 * 3600))
    if form == "fraction":
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return "%s.%03dZ" % (whole, int(seconds * 1000) % 1000)
    if form == "space":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    if form == "garbage":
        return "a while ago"
    if form == "empty":
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Instance:
    """A machine.  due: when its state ends by itself."""

    __slots__ = ("id", "status", "created", "due", "after")

    def __init__(self, instance_id, status, created, due=NEVER, after=None):
        self.id = instance_id
        self.status = status
        self.created = created
        self.due = due
        self.after = after      # next status; None: it is gone


class Activity:
    """A scaling activity; running until it is due."""

    __slots__ = ("id", "delta", "status", "created", "due", "stopped",
                 "result", "category", "cause", "instances", "before")

    def __init__(self, activity_id, delta, created, due, result, category,
                 cause, instances, before):
        self.id = activity_id
        self.delta = delta
        self.status = "Running"
        self.created = created
        self.due = due
        self.stopped = None
        self.result = result
        self.category = category
        self.cause = cause
        self.instances = instances
        self.before = before

    @property
    def running(self):
        return self.status in ("Init", "Running")


class Group:
    """One scaling group."""

    def __init__(self, spec, now, default_boot_delay):
        if not isinstance(spec, dict) or not isinstance(spec.get("id"), str):
            raise ValueError("a group must be an object with an id")
        unknown = set(spec) - set(SETTINGS) - set(COUNTS) - OTHER_KEYS
        if unknown:
            raise ValueError("group %s: unknown key %s"
                             % (spec["id"], ", ".join(sorted(unknown))))
        self.id = spec["id"]
        self.default_boot_delay = default_boot_delay
        self.created = self.updated = now
        self.settings = {name: default
                         for name, (default, _) in SETTINGS.items()}
        self.apply_settings(spec)
        self.minimum = spec.get("min", 0)
        self.maximum = spec.get("max", 100)
        self.desired = spec.get("desired", self.minimum)
        if not is_count(self.minimum) or not is_count(self.maximum):
            raise ValueError("group %s: min and max must be counts" % self.id)
        if self.desired != -1 and not is_count(self.desired):
            raise ValueError("group %s: desired must be a count or -1"
                             % self.id)
        self.instances = []
        self.activities = []
        self.history = []
        self.serial = 0
        self.next_due = NEVER
        self._json = None
        self._fill(spec, now)
        for past in spec.get("activities", []):
            self.add_past_activity(past, now)
        if spec.get("converge"):
            self.reconcile(now, "control")

    def apply_settings(self, spec):
        """Checks and takes those settings that the object names."""
        for name, (_, check) in SETTINGS.items():
            if name in spec:
                if not check(spec[name]):
                    raise ValueError("group %s: %s is not valid"
                                     % (self.id, name))
                self.settings[name] = spec[name]
        self._json = None

    def _fill(self, spec, now):
        counts = {key: spec.get(key, 0) for key in COUNTS}
        others = sum(counts.values()) if all(
            is_count(n) for n in counts.values()) else -1
        total = spec.get("total", max(self.desired, others, 0))
        if others < 0 or not is_count(total) or total < others:
            raise ValueError("group %s: the instance counts do not add up"
                             % self.id)
        frozen = bool(spec.get("frozen", False))
        self.add_instances(total - others, "InService", now)
        for key, status in COUNTS.items():
            due, after = NEVER, None
            if status == "Pending" and not frozen:
                due, after = now + self.boot_delay, "InService"
            elif status == "Removing" and not frozen:
                due = now + self.drain_delay
            self.add_instances(counts[key], status, now, due, after)

    @property
    def boot_delay(self):
        delay = self.settings["boot_delay"]
        return self.default_boot_delay if delay is None else delay

    @property
    def drain_delay(self):
        delay = self.settings["drain_delay"]
        return self.boot_delay if delay is None else delay

    def add_instances(self, count, status, now, due=NEVER, after=None):
        """New instances in the given state; returns them."""
        added = []
        for _ in range(count):
            self.serial += 1
            added.append(Instance("i-%s-%d" % (self.id, self.serial), status,
                                  now, due, after))
        self.instances.extend(added)
        self.next_due = min(self.next_due, due)
        self._json = None
        return added

    def add_past_activity(self, past, now):
        """An activity that others caused, for tests of cooldowns."""
        if (not isinstance(past, dict) or not is_number(past.get("age", 0))
                or not isinstance(past.get("delta", 1), int)):
            raise ValueError("an activity has age, delta, status, lasts")
        created = now - past.get("age", 0)
        activity = Activity(self._activity_id(), past.get("delta", 1),
                            created, NEVER, "Success",
                            past.get("category", "Manual"), "control", [],
                            len(self.instances))
        activity.status = past.get("status", "Success")
        if not activity.running:
            activity.stopped = created + past.get("lasts", 0)
        elif "lasts" in past:
            activity.due = created + past["lasts"]
            self.next_due = min(self.next_due, activity.due)
        self.activities.append(activity)

    def _activity_id(self):
        self.serial += 1
        return "asa-%s-%d" % (self.id, self.serial)

    def count(self, *statuses):
        """Instances in one of the given states."""
        return sum(1 for i in self.instances if i.status in statuses)

    def alive(self):
        """Members that will stay: what desired is compared with."""
        return sum(1 for i in self.instances
                   if not i.status.startswith("Removing"))

    def running_activity(self):
        """Whether one of the activities has not ended."""
        return any(a.running for a in reversed(self.activities))

    def advance(self, now):
        """Lets happen what was due until now."""
        if now < self.next_due:
            return
        self._json = None
        staying = []
        for instance in self.instances:
            if instance.due <= now:
                if instance.after is None:
                    continue
                instance.status = instance.after
                instance.due = NEVER
            staying.append(instance)
        self.instances = staying
        for activity in self.activities:
            if activity.running and activity.due <= now:
                activity.status = activity.result
                activity.stopped = activity.due
        self.next_due = min(
            [i.due for i in self.instances]
            + [a.due for a in self.activities if a.running], default=NEVER)

    def resize(self, minimum, maximum, desired, now, cause, source):
        """Takes new limits and desired (already checked) and acts on it."""
        self.advance(now)
        self.history.append({
            "time": now, "request_id": cause, "source": source,
            "from": self.desired, "to": desired,
            "min": minimum, "max": maximum, "total": len(self.instances)})
        del self.history[:-MAX_HISTORY]
        self.minimum = minimum
        self.maximum = maximum
        self.desired = desired
        self.updated = now
        self._json = None
        self.reconcile(now, cause)

    def reconcile(self, now, cause):
        """The health check that follows a change: adds or removes."""
        self.advance(now)
        suspended = self.settings["suspended_processes"]
        if ("HealthCheck" in suspended
                or self.settings["lifecycle"] not in ("Active",
                                                      "CoolingDown")):
            return
        alive = self.alive()
        target = self.desired
        if target == -1:
            target = min(max(alive, self.minimum), self.maximum)
        delta = target - alive
        if delta > 0 and "ScaleOut" not in suspended:
            self._scale_out(delta, now, cause)
        elif delta < 0 and "ScaleIn" not in suspended:
            self._scale_in(-delta, now, cause)

    def _scale_out(self, count, now, cause):
        result = self.settings["activity_result"]
        before = len(self.instances)
        due = now + self.boot_delay
        kept = {"Success": count, "PartialSuccess": count // 2}.get(result, 0)
        added = self.add_instances(kept, "Pending", now, due, "InService")
        added += self.add_instances(count - kept, "Pending", now, due, None)
        self._start(count, now, due, result, cause, added, before)

    def _scale_in(self, count, now, cause):
        result = self.settings["activity_result"]
        before = len(self.instances)
        due = now + self.drain_delay
        order = {"Error": 0, "Pending": 1, "Stopped": 2, "InService": 3}
        leaving = sorted(
            (i for i in self.instances if i.status in order),
            key=lambda i: order[i.status])[:count]
        for instance in leaving if result in ("Success",
                                              "PartialSuccess") else []:
            instance.status = "Removing"
            instance.due = due
            instance.after = None
        self._start(-count, now, due, result, cause, leaving, before)

    def _start(self, delta, now, due, result, cause, instances, before):
        self.activities.append(Activity(
            self._activity_id(), delta, now, due, result, "Manual", cause,
            [i.id for i in instances], before))
        del self.activities[:-MAX_ACTIVITIES]
        self.next_due = min(self.next_due, due)
        self._json = None
        self.advance(now)

    def json(self):
        """The group as DescribeScalingGroups shows it, as JSON text."""
        if self._json is None:
            self._json = json.dumps(self.describe(), separators=(",", ":"))
        return self._json

    def describe(self):
        """The group as DescribeScalingGroups shows it."""
        form = self.settings["time_format"]
        alb = self.settings["alb_id"]
        servers = []
        if alb is not None:
            servers.append({"LoadBalancerId": alb, "Type": "ALB",
                            "ServerGroupId": "rsp-" + self.id, "Port": 80,
                            "Weight": 100})
        return {
            "ScalingGroupId": self.id,
            "ScalingGroupName": self.settings["name"] or self.id,
            "LifecycleState": self.settings["lifecycle"],
            "TotalInstanceCount": len(self.instances),
            "StoppedInstanceCount": self.count("Stopped"),
            "DesireInstanceNumber": self.desired,
            "MinInstanceNumber": self.minimum,
            "MaxInstanceNumber": self.maximum,
            "DefaultCooldown": self.settings["cooldown"],
            "SuspendedProcesses": self.settings["suspended_processes"],
            "ScalingMode": "release",
            "HealthCheckType": "ECS",
            "InstanceTerminatePolicy": "OldestInstance",
            "MultiAZPolicy": "PRIORITY",
            "ServerGroupAttributes": servers,
            "ActiveScalingConfigurationId": "scc-" + self.id,
            "VpcId": "vpc-emulator",
            "SubnetIds": ["subnet-emulator"],
            "DBInstanceIds": [],
            "ProjectName": "default",
            "Tags": [],
            "CreatedAt": format_time(self.created, form),
            "UpdatedAt": format_time(self.updated, form),
        }

    def describe_instance(self, instance):
        """An instance as DescribeScalingInstances shows it."""
        return {
            "InstanceId": instance.id,
            "Status": instance.status,
            "CreationType": "AutoCreated",
            "ScalingGroupId": self.id,
            "ScalingConfigurationId": "scc-" + self.id,
            "ScalingPolicyId": "",
            "CreatedTime": format_time(instance.created,
                                       self.settings["time_format"]),
            "ZoneId": "emulator-a",
            "Entrusted": True,
        }

    def spell_status(self, status):
        """An activity's status in this group's spelling."""
        spelling = self.settings["status_spelling"]
        return {"upper": status.upper(), "lower": status.lower(),
                "unknown": "Frobnicating"}.get(spelling, status)

    def describe_activity(self, activity):
        """An activity as DescribeScalingActivities shows it."""
        form = self.settings["time_format"]
        words = TYPE_SPELLINGS[self.settings["type_spelling"]]
        adjusted = activity.delta
        if self.settings["unsigned_adjustment"]:
            adjusted = abs(adjusted)
        shown = {
            "ScalingActivityId": activity.id,
            "ScalingGroupId": self.id,
            "ActivityType": words[0 if activity.delta > 0 else 1],
            "TaskCategory": activity.category,
            "StatusCode": self.spell_status(activity.status),
            "CreatedAt": format_time(activity.created, form),
            "ExpectedRunTime": format_time(activity.created, form),
            "StoppedAt": ("" if activity.stopped is None
                          else format_time(activity.stopped, form)),
            "CurrentInstanceNumber": activity.before,
            "ActualAdjustInstanceNumber": adjusted,
            "MinInstanceNumber": self.minimum,
            "MaxInstanceNumber": self.maximum,
            "Cooldown": self.settings["cooldown"],
            "ResultMsg": "",
            "RelatedInstances": [
                {"InstanceId": name, "Message": "",
                 "OperateType": "Create" if activity.delta > 0 else "Remove",
                 "Status": activity.status}
                for name in activity.instances],
        }
        if shown["ActivityType"] is None:
            del shown["ActivityType"]
        return shown

    def report(self):
        """The group as the control API shows it: the truth."""
        shown = dict(self.settings)
        shown.update({
            "id": self.id, "min": self.minimum, "max": self.maximum,
            "desired": self.desired, "total": len(self.instances),
            "in_service": self.count("InService", "Protected"),
            "pending": self.count("Pending"),
            "removing": self.count("Removing"),
            "failed": self.count("Error"),
            "stopped": self.count("Stopped"),
            "history": self.history,
            "activities": [
                {"id": a.id, "delta": a.delta, "status": a.status,
                 "created": a.created, "stopped": a.stopped,
                 "request_id": a.cause} for a in self.activities]})
        return shown


class GroupStore:
    """All groups, by id and by load balancer."""

    def __init__(self):
        self.by_id = {}

    def put(self, group):
        self.by_id[group.id] = group

    def of_alb(self, alb_id):
        """Groups behind a load balancer."""
        return [g for g in self.by_id.values()
                if g.settings["alb_id"] == alb_id]

    def in_region(self, region):
        """Groups of a region; a group without one is in all of them."""
        return [g for g in self.by_id.values()
                if g.settings["region"] in (None, region)]
