"""What a Prometheus scrapes at /metrics: the load of each load balancer, and
whatever a test says besides.

    PUT /_emulator/metrics   {"queue_depth{queue=\\"a\\"}": "812.5", ...}

replaces the latter; values are text, so that NaN and +Inf can be said.
"""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def checked(lines):
    """The lines that were ordered, or a ValueError."""
    if not isinstance(lines, dict) or not all(
            isinstance(value, str) and "\n" not in name + value
            for name, value in lines.items()):
        raise ValueError("metrics is an object of name{labels}: value")
    return lines


def render(world):
    """The text of a scrape."""
    now = world.sim_now()
    lines = ['cloud_requests_per_second{load_balancer="%s"} %r'
             % (alb_id, balancer.curve(now))
             for alb_id, balancer in world.traffic.balancers.items()]
    lines += ["%s %s" % item for item in world.exposed.items()]
    return "\n".join(lines + [""]).encode()
