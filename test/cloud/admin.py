"""The control API under /_emulator/: unsigned JSON, for tests only.

PUT replaces, PATCH changes as a human in the console would, GET tells the
truth (also where the API is ordered to lie).
"""

import json
from urllib.parse import parse_qs, unquote

import exposition
import kubernetes_control
from byteplus import ApiError
from groups import COUNTS, SETTINGS, is_count

MAX_WEBHOOKS = 10000


class NotThere(Exception):
    """A path or an object that does not exist."""


def handle(world, message, body):
    """(HTTP status, reply object) of a control request."""
    parts = [unquote(part) for part in message.path.split("/")[2:] if part]
    try:
        query = {name: values[-1]
                 for name, values in parse_qs(message.query).items()}
        if parts[:1] == ["webhook"]:
            return 200, webhook(world, message, body)
        data = json.loads(body) if body else None
        if parts[:1] == ["kubernetes"]:
            return 200, kubernetes_control.handle(
                world.kubernetes, message.method, parts[1:], query, data,
                world.now())
        route = ROUTES.get((message.method, parts[0] if parts else "",
                            len(parts)))
        if route is None:
            raise NotThere("no such control call")
        return 200, route(world, parts[1:], query, data)
    except NotThere as error:
        return 404, {"error": str(error)}
    except ApiError as error:
        return 400, {"error": error.message, "code": error.code}
    except (ValueError, TypeError, KeyError, AttributeError,
            RecursionError) as error:
        return 400, {"error": "%s: %s" % (type(error).__name__, error)}


def webhook(world, message, body):
    """Records a POST that the product sent as an alert."""
    if message.method == "POST":
        if len(world.ledger.webhooks) < MAX_WEBHOOKS:
            world.ledger.webhooks.append({
                "time": world.now(), "path": message.path,
                "query": message.query, "headers": message.headers,
                "body": body.decode("utf-8", "replace")})
        return {"ok": True}
    return {"entries": world.ledger.webhooks}


def group_named(world, group_id):
    group = world.groups.by_id.get(group_id)
    if group is None:
        raise NotThere("no group " + group_id)
    group.advance(world.now())
    return group


def put_groups(world, parts, query, data):
    return {"groups": len(world.put_groups(data))}


def get_groups(world, parts, query, data):
    return {"groups": [group_named(world, group_id).report()
                       for group_id in world.groups.by_id]}


def get_group(world, parts, query, data):
    return group_named(world, parts[0]).report()


def delete_group(world, parts, query, data):
    group_named(world, parts[0])
    del world.groups.by_id[parts[0]]
    return {"ok": True}


def patch_group(world, parts, query, data):
    """A change from outside; desired, min and max start an activity."""
    group = group_named(world, parts[0])
    allowed = set(SETTINGS) | {"desired", "min", "max", "force",
                               "add_activity", "set_instances"}
    if not isinstance(data, dict) or set(data) - allowed:
        raise ValueError("a patch takes " + ", ".join(sorted(allowed)))
    now = world.now()
    before = dict(group.settings)
    group.apply_settings(data)
    if {"desired", "min", "max"} & set(data):
        minimum = data.get("min", group.minimum)
        maximum = data.get("max", group.maximum)
        desired = data.get("desired", group.desired)
        if not is_count(minimum) or not is_count(maximum) or not (
                desired == -1 or is_count(desired)):
            raise ValueError("desired, min and max are counts")
        if data.get("force"):
            group.resize(minimum, maximum, desired, now, "control", "control")
        else:
            world.api.resize(group, minimum, maximum, desired, "control",
                             "control")
    elif any(group.settings[name] != before[name]
             for name in ("lifecycle", "suspended_processes")):
        # A process that was resumed catches up.
        group.reconcile(now, "control")
    if "set_instances" in data:
        set_instances(group, data["set_instances"], now)
    if "add_activity" in data:
        group.add_past_activity(data["add_activity"], now)
    return group.report()


def set_instances(group, counts, now):
    """Replaces the members by so many of each state, without activity."""
    states = dict(COUNTS, in_service="InService")
    if not isinstance(counts, dict) or set(counts) - set(states) or not all(
            is_count(n) for n in counts.values()):
        raise ValueError("set_instances takes counts of "
                         + ", ".join(sorted(states)))
    group.instances = []
    for key, count in counts.items():
        group.add_instances(count, states[key], now)


def put_traffic(world, parts, query, data):
    """One script for a load balancer, or an object of many."""
    scripts = {parts[0]: data} if parts else data
    if not isinstance(scripts, dict):
        raise ValueError("traffic is an object of load balancer: script")
    for alb_id, script in scripts.items():
        world.traffic.put(alb_id, script, world.sim_now())
    return {"load_balancers": len(scripts)}


def get_traffic(world, parts, query, data):
    """What each script says now."""
    sim_now = world.sim_now()
    shown = {}
    for alb_id, balancer in world.traffic.balancers.items():
        value = balancer.curve(sim_now)
        shown[alb_id] = {"script": balancer.script,
                         "qps": value if value == value else None}
    return {"sim_now": sim_now, "load_balancers": shown}


def put_metrics(world, parts, query, data):
    world.exposed = exposition.checked(data)
    return {"metrics": len(data)}


def post_faults(world, parts, query, data):
    world.faults.add(data if isinstance(data, list) else [data])
    return {"faults": len(world.faults.faults)}


def get_faults(world, parts, query, data):
    return {"faults": world.faults.report()}


def delete_faults(world, parts, query, data):
    world.faults.clear()
    return {"faults": 0}


def get_log(world, parts, query, data):
    entries = world.ledger.since(
        int(query.get("since", 0)), query.get("action"),
        int(query["limit"]) if "limit" in query else None)
    return {"last": world.ledger.seq, "entries": entries}


def get_counters(world, parts, query, data):
    return world.ledger.counters()


def post_reset(world, parts, query, data):
    """Everything, or {"what": ["log"]} for the log and counters alone."""
    what = data.get("what", ["all"]) if isinstance(data, dict) else ["all"]
    if what == ["all"]:
        world.reset()
    elif what == ["log"]:
        world.ledger.clear()
    else:
        raise ValueError('what is ["all"] or ["log"]')
    return {"ok": True}


def get_clock(world, parts, query, data):
    return {"now": world.now(), "sim_now": world.sim_now(),
            "offset": world.clock.offset, "compress": world.clock.compress}


def post_clock(world, parts, query, data):
    world.clock.change(data)
    return get_clock(world, parts, query, data)


def post_options(world, parts, query, data):
    world.set_options(data)
    return world.options


def get_options(world, parts, query, data):
    return world.options


def get_identity(world, parts, query, data):
    return world.identity.report()


def put_identity(world, parts, query, data):
    world.identity.change(data)
    return world.identity.report()


def post_load(world, parts, query, data):
    world.load(data)
    return {"ok": True}


ROUTES = {
    ("PUT", "groups", 1): put_groups,
    ("GET", "groups", 1): get_groups,
    ("GET", "groups", 2): get_group,
    ("PATCH", "groups", 2): patch_group,
    ("DELETE", "groups", 2): delete_group,
    ("PUT", "traffic", 1): put_traffic,
    ("PUT", "traffic", 2): put_traffic,
    ("GET", "traffic", 1): get_traffic,
    ("PUT", "metrics", 1): put_metrics,
    ("POST", "faults", 1): post_faults,
    ("GET", "faults", 1): get_faults,
    ("DELETE", "faults", 1): delete_faults,
    ("GET", "log", 1): get_log,
    ("GET", "counters", 1): get_counters,
    ("POST", "reset", 1): post_reset,
    ("GET", "clock", 1): get_clock,
    ("POST", "clock", 1): post_clock,
    ("POST", "options", 1): post_options,
    ("GET", "options", 1): get_options,
    ("PUT", "identity", 1): put_identity,
    ("GET", "identity", 1): get_identity,
    ("POST", "load", 1): post_load,
}
