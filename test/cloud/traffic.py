"""Scripted load of load balancers, in simulated time.

A script maps simulated time to requests per second and says how hostile the
monitoring service is about it: nulls, missing series, late or unordered
points.  Values depend on nothing but the script and the time, so that the
same question always has the same answer.
"""

import bisect
import json
import math
import zlib

DAY = 86400.0

# name -> values a client must be able to live with
SERIES_MODES = ("normal", "omit", "empty", "null_points")
NULL_FORMS = ("null", "absent", "nan", "infinity", "text")
INCOMPLETE_MODES = ("scaled", "full", "omit")
POINT_ORDERS = ("mixed", "sorted", "reversed")


def number(script, name, default=None, minimum=0.0):
    """A finite number of the script, or a ValueError that names it."""
    value = script.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("%s must be a number" % name)
    if not math.isfinite(value) or (minimum is not None and value < minimum):
        raise ValueError("%s is out of range" % name)
    return float(value)


def choice(script, name, allowed):
    """One of the allowed words; the first is the default."""
    value = script.get(name, allowed[0])
    if value not in allowed:
        raise ValueError("%s must be one of %s" % (name, ", ".join(allowed)))
    return value


def noise_at(seed, seconds):
    """A reproducible number in [-1, 1] for a minute."""
    text = "%s:%d" % (seed, seconds // 60)
    return zlib.crc32(text.encode()) / 2147483647.5 - 1.0


def _constant(script, start, seed):
    qps = number(script, "qps")
    return lambda t: qps


def _steps(script, start, seed):
    steps = script.get("steps")
    if not isinstance(steps, list) or not steps:
        raise ValueError("steps must be a list of [seconds, qps]")
    pairs = []
    for step in steps:
        if not isinstance(step, list) or len(step) != 2:
            raise ValueError("steps must be a list of [seconds, qps]")
        named = {"seconds": step[0], "qps": step[1]}
        pairs.append((number(named, "seconds", minimum=None),
                      number(named, "qps")))
    pairs.sort()
    times = [start + seconds for seconds, _ in pairs]
    values = [qps for _, qps in pairs]

    def value(t):
        # Before the first step the load was what the first step says.
        return values[max(bisect.bisect_right(times, t) - 1, 0)]

    return value


def _day(script, start, seed):
    low = number(script, "low")
    high = number(script, "high")
    peak = number(script, "peak_hour", 14) * 3600.0
    noise = number(script, "noise", 0)

    def value(t):
        phase = math.cos((t - peak) / DAY * 2 * math.pi)
        qps = low + (high - low) * (1 + phase) / 2
        if noise:
            qps *= 1 + noise * noise_at(seed, t)
        return max(qps, 0.0)

    return value


def _spike(script, start, seed):
    base = number(script, "base", 0)
    peak = number(script, "peak")
    begin = start + number(script, "at", 0, minimum=None)
    lasts = number(script, "duration", 300)
    ramp = number(script, "ramp", 0)

    def value(t):
        since = t - begin
        if since < 0 or since >= ramp + lasts + ramp:
            return base
        if since < ramp:
            return base + (peak - base) * since / ramp
        if since < ramp + lasts:
            return peak
        return peak - (peak - base) * (since - ramp - lasts) / ramp

    return value


def _points(script, start, seed):
    points = script.get("points")
    if not isinstance(points, dict):
        raise ValueError("points must be an object of epoch: value")
    table = {}
    for key, raw in points.items():
        try:
            epoch = int(key)
        except ValueError:
            raise ValueError("points: %r is no epoch" % key) from None
        # Small keys count from the moment the script was set.
        at = epoch if abs(epoch) >= 100000000 else start + epoch
        table[int(at // 60)] = (None if raw is None
                                else number({"value": raw}, "value"))
    hold = bool(script.get("hold", False))
    known = sorted(table)

    def value(t):
        minute = int(t // 60)
        if minute in table:
            found = table[minute]
            return float("nan") if found is None else found
        if hold and known:
            found = table[known[max(bisect.bisect(known, minute) - 1, 0)]]
            return float("nan") if found is None else found
        return None

    return value


KINDS = {"constant": _constant, "steps": _steps, "day": _day,
         "spike": _spike, "points": _points}


def compile_curve(script, start, seed):
    """A function simulated seconds -> qps; None is no point, NaN a null."""
    if not isinstance(script, dict):
        raise ValueError("a script must be an object")
    kind = script.get("kind")
    if kind not in KINDS:
        raise ValueError("kind must be one of %s" % ", ".join(sorted(KINDS)))
    if "start" in script:
        start = number(script, "start")
    return KINDS[kind](script, start, seed)


class LoadBalancer:
    """The script of one load balancer."""

    def __init__(self, alb_id, script, start):
        self.alb_id = alb_id
        self.script = script
        self.curve = compile_curve(script, start, alb_id)
        self.quoted = json.dumps(alb_id)
        self.metrics = {}
        extra = script.get("metrics", {})
        if not isinstance(extra, dict):
            raise ValueError("metrics must be an object of metric: script")
        for metric, curve in extra.items():
            self.metrics[metric] = compile_curve(
                curve, start, alb_id + "/" + metric)
        self.region = script.get("region")
        self.series = choice(script, "series", SERIES_MODES)
        self.null_form = choice(script, "null_as", NULL_FORMS)
        self.incomplete = choice(script, "incomplete", INCOMPLETE_MODES)
        self.order = choice(script, "order", POINT_ORDERS)
        self.lag = number(script, "lag", 0)
        self.nulls = script.get("nulls", False)
        if not (self.nulls in (False, True, "all", "newest", "oldest")
                or (isinstance(self.nulls, int) and self.nulls > 0)):
            raise ValueError(
                'nulls must be "all", "newest", "oldest" or every how many')
        # The common case needs none of the special treatment.
        self.plain = (not self.nulls and not self.lag
                      and (self.null_form, self.incomplete, self.order)
                      == ("null", "scaled", "mixed"))

    def is_null(self, index, count, timestamp, period):
        """Whether the point, index-th of count by time, has no value."""
        nulls = self.nulls
        if nulls is False:
            return False
        if nulls is True or nulls == "all":
            return True
        if nulls == "newest":
            return index == count - 1
        if nulls == "oldest":
            return index == 0
        return (timestamp // period) % nulls == 0


class Traffic:
    """All load balancers."""

    def __init__(self):
        self.balancers = {}

    def put(self, alb_id, script, start):
        """Sets a script; a script of null forgets the load balancer."""
        if script is None:
            self.balancers.pop(alb_id, None)
        else:
            self.balancers[alb_id] = LoadBalancer(alb_id, script, start)


def mix(items):
    """An order that is neither the given one nor its reverse (from 3 up).

    Deterministic on purpose: a test that fails must fail again.
    """
    return items[1::2][::-1] + items[0::2]
