"""Everything the emulator remembers: clock, groups, traffic, faults, log."""

import collections
import json
import time

import aws
from byteplus import Api
from faults import FaultList
from groups import Group, GroupStore
from identity import Identity
from kubernetes import Cluster
from traffic import Traffic

MAX_LOG_ENTRIES = 20000         # some 4 kB each at most

# Options of the whole cloud: name -> allowed values or a type; the first, or
# the value beside the type, is the default.
OPTIONS = {
    "result_order": ("mixed", "given"),
    "unknown_ids": ("others", "omit", "error"),
    "stray_series": (False, True),
    "quota": (int, 100000),
    "metric_rate": (float, 0),
    "autoscaling_rate": (float, 0),     # AWS only
    "aws_page": (int, 0),               # groups a page at most, 0 = MaxRecords
    "aws_points_page": (int, 0),        # points a series and page, 0 = all
}


class Clock:
    """The cloud's clock, and simulated time for the traffic.

    offset shifts the cloud's clock against the machine's (skew); compress
    makes simulated time pass faster from the moment it is set.
    """

    def __init__(self, compress=1.0):
        self.offset = 0.0
        self.compress = compress
        self._real_base = self._sim_base = time.time()

    def now(self):
        return time.time() + self.offset

    def sim_now(self):
        # At normal speed it is now(), unless simulated time was moved.
        return (self._sim_base + self.offset
                + self.compress * (time.time() - self._real_base))

    def change(self, wanted):
        """compress, offset, sim_now (absolute) or advance (seconds)."""
        if not isinstance(wanted, dict) or not wanted or set(wanted) - {
                "compress", "offset", "sim_now", "advance"}:
            raise ValueError("clock takes compress, offset, sim_now, advance")
        for value in wanted.values():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError("clock takes numbers")
        if wanted.get("compress", 1) <= 0:
            raise ValueError("compress must be positive")
        self.offset = wanted.get("offset", self.offset)
        now = time.time()
        sim = self._sim_base + self.compress * (now - self._real_base)
        if "sim_now" in wanted:
            sim = wanted["sim_now"] - self.offset
        self._sim_base = sim + wanted.get("advance", 0)
        self._real_base = now
        self.compress = wanted.get("compress", self.compress)


class Limiter:
    """A token bucket with a burst of one second."""

    def __init__(self, rate):
        self.rate = rate
        self.tokens = rate
        self.at = None

    def take(self, now):
        if self.at is not None:
            self.tokens = min(self.rate,
                              self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Ledger:
    """The request log and the counters."""

    def __init__(self, path=None):
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.connections_open = 0
        self.seq = 0
        self.clear()

    def clear(self):
        """Forgets everything; sequence numbers go on."""
        self.entries = collections.deque(maxlen=MAX_LOG_ENTRIES)
        self.floor = self.seq
        self.actions = {}
        self.requests = self.errors = 0
        self.in_flight = self.max_in_flight = 0
        self.signature_failures = 0
        self.modify_applied = 0
        self.metrics_asked = 0
        self.connections_accepted = 0
        self.tls_handshakes = self.tls_resumed = 0
        self.webhooks = []

    def action(self, name):
        """The counters of an action."""
        if name not in self.actions:
            # Unknown actions share one entry: names come from outside.
            if len(self.actions) >= 64:
                name = "(others)"
            self.actions.setdefault(name, {"requests": 0, "errors": 0,
                                           "in_flight": 0,
                                           "max_in_flight": 0})
        return self.actions[name]

    def begin(self, request, connection_id, query, body, now):
        """Notes a request at its arrival; returns its entry."""
        self.seq += 1
        counters = self.action(request.action)
        counters["requests"] += 1
        counters["in_flight"] += 1
        counters["max_in_flight"] = max(counters["max_in_flight"],
                                        counters["in_flight"])
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        entry = {
            "seq": self.seq, "time": now, "start": now, "end": None,
            "method": request.method, "action": request.action,
            "service": request.service, "region": request.region,
            "ids": request.ids[:60], "n_ids": len(request.ids),
            "desired": request.params.get("DesireInstanceNumber"),
            "status": None, "error": None, "fault": None,
            "signature_ok": None, "connection": connection_id,
            "in_flight": self.in_flight, "request_id": request.request_id,
            "query": query[:600], "body": body[:600].decode("utf-8",
                                                            "replace")}
        self.entries.append(entry)
        return entry

    def finish(self, entry, status, error, now):
        """Notes the end of a request; status None: it got no answer."""
        if entry["end"] is not None:
            return
        entry["end"] = now
        entry["status"] = status
        if error and entry["error"] is None:
            entry["error"] = error
        # Requests from before a reset do not count any more.
        if entry["seq"] > self.floor:
            counters = self.action(entry["action"])
            counters["in_flight"] = max(counters["in_flight"] - 1, 0)
            self.in_flight = max(self.in_flight - 1, 0)
            if error:
                counters["errors"] += 1
                self.errors += 1
        if self.file is not None:
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()

    def since(self, seq, action=None, limit=None):
        """Entries after a sequence number, oldest first."""
        found = [e for e in self.entries if e["seq"] > seq
                 and (action is None or e["action"] == action)]
        return found if limit is None else found[:limit]

    def counters(self):
        return {
            "actions": self.actions, "requests": self.requests,
            "errors": self.errors, "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "connections": {"accepted": self.connections_accepted,
                            "open": self.connections_open},
            "tls": {"handshakes": self.tls_handshakes,
                    "resumed": self.tls_resumed},
            "signature_failures": self.signature_failures,
            "modify_applied": self.modify_applied,
            "metrics_asked": self.metrics_asked,
            "webhook": len(self.webhooks)}


class World:
    """The state that requests and the control API share."""

    def __init__(self, boot_delay=2.0, compress=1.0, seed=0, log=None):
        self.boot_delay = boot_delay
        self.initial_compress = compress
        self.ledger = Ledger(log)
        self.faults = FaultList(seed)
        self.api = Api(self)
        self.aws = aws.Api(self)
        self.identity = Identity()
        self.kubernetes = Cluster(boot_delay)
        self.limiters = {}
        self.reset()

    def reset(self):
        self.clock = Clock(self.initial_compress)
        self.groups = GroupStore()
        self.traffic = Traffic()
        self.exposed = {}
        self.identity.reset()
        self.kubernetes.reset()
        self.faults.clear()
        self.ledger.clear()
        self.options = {name: (spec[1] if isinstance(spec[0], type)
                               else spec[0])
                        for name, spec in OPTIONS.items()}
        self.limiters = {}

    def now(self):
        return self.clock.now()

    def sim_now(self):
        return self.clock.sim_now()

    def set_options(self, wanted):
        """Checks all, then takes them."""
        if not isinstance(wanted, dict):
            raise ValueError("options must be an object")
        for name, value in wanted.items():
            spec = OPTIONS.get(name)
            if spec is None:
                raise ValueError("unknown option " + name)
            if isinstance(spec[0], type):
                good = (isinstance(value, (int, spec[0]))
                        and not isinstance(value, bool) and value >= 0)
            else:
                good = value in spec
            if not good:
                raise ValueError("option %s cannot be %r" % (name, value))
        self.options.update(wanted)
        rate = self.options["metric_rate"]
        self.limiters = {"GetMetricData": Limiter(rate)} if rate else {}
        rate = self.options["autoscaling_rate"]
        if rate:
            self.limiters["autoscaling"] = Limiter(rate)

    def put_groups(self, specs):
        """Creates or replaces groups: all of the list, or none."""
        if not isinstance(specs, list):
            raise ValueError("groups must be a list")
        now = self.now()
        made = [Group(spec, now, self.boot_delay) for spec in specs]
        for group in made:
            self.groups.put(group)
        return made

    def load(self, scene):
        """A whole scene: options, clock, groups, traffic, faults."""
        if not isinstance(scene, dict) or set(scene) - {
                "options", "clock", "groups", "traffic", "faults"}:
            raise ValueError(
                "a scene has options, clock, groups, traffic, faults")
        self.set_options(scene.get("options", {}))
        if scene.get("clock"):
            self.clock.change(scene["clock"])
        self.put_groups(scene.get("groups", []))
        for alb_id, script in scene.get("traffic", {}).items():
            self.traffic.put(alb_id, script, self.sim_now())
        self.faults.add(scene.get("faults", []))
