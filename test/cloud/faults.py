"""Faults that tests order: what to match, how often, and how it fails.

A fault is ordered beforehand and spent by the first request that matches, in
the order in which faults were given.
"""

import json
import random
import socket
import struct

import identity

KINDS = ("hang", "reset", "close", "drip", "status", "error_200", "truncated",
         "huge", "non_utf8", "wrong_content_type", "html", "lost_reply",
         "delay", "deep", "redirect", "empty", "gateway", "body")
# No fault strikes these that does not name them.
NAMED_ONLY = {"webhook"}.union(identity.ACTIONS)
MATCH_KEYS = {"action", "service", "group_id", "alb_id", "region",
              "longer_than"}

STATUS_CODES = {
    400: (100001, "InvalidParameter"),
    401: (100009, "InvalidAccessKey"),
    403: (100013, "AccessDenied"),
    404: (100008, "InvalidActionOrVersion"),
    429: (100018, "FlowLimitExceeded"),
    500: (100023, "InternalServiceError"),
    502: (100023, "InternalServiceError"),
    503: (100019, "ServiceUnavailableTemporarily"),
    504: (100016, "InternalServiceTimeout"),
}


def span_of(body):
    """Seconds that a question of metrics is about; 0 where it is none."""
    if not isinstance(body, dict):
        return 0
    start, end = body.get("StartTime"), body.get("EndTime")
    if all(isinstance(t, (int, float)) and not isinstance(t, bool)
           for t in (start, end)):
        return end - start
    return 0


class Fault:
    """One ordered fault."""

    def __init__(self, spec):
        if not isinstance(spec, dict) or spec.get("kind") not in KINDS:
            raise ValueError("a fault needs a kind: " + ", ".join(KINDS))
        unknown = set(spec) - {"match", "kind", "times", "probability",
                               "params", "skip"}
        if unknown:
            raise ValueError("unknown key " + ", ".join(sorted(unknown)))
        self.kind = spec["kind"]
        self.match = spec.get("match") or {}
        self.params = spec.get("params") or {}
        if not isinstance(self.match, dict) or set(self.match) - MATCH_KEYS:
            raise ValueError("match takes " + ", ".join(sorted(MATCH_KEYS)))
        if not isinstance(self.match.get("longer_than", 0), (int, float)):
            raise ValueError("longer_than must be a number")
        if not isinstance(self.params, dict):
            raise ValueError("params must be an object")
        self.probability = spec.get("probability")
        if self.probability is not None and not (
                isinstance(self.probability, (int, float))
                and 0 <= self.probability <= 1):
            raise ValueError("probability must be between 0 and 1")
        # Without a probability a fault strikes once; with one, for ever.
        self.times = spec.get("times", 1 if self.probability is None else -1)
        self.skip = spec.get("skip", 0)
        for count in (self.times, self.skip):
            if not isinstance(count, int) or isinstance(count, bool):
                raise ValueError("times and skip must be whole numbers")

    def matches(self, facts):
        """facts: the request's action, service, region, ids, and the seconds
        between StartTime and EndTime where it has them."""
        if (facts["action"] in NAMED_ONLY
                and self.match.get("action") != facts["action"]):
            return False        # no cloud fault strikes it by accident
        for key, wanted in self.match.items():
            if key in ("group_id", "alb_id"):
                if wanted not in facts["ids"]:
                    return False
            elif key == "longer_than":
                if not facts.get("span", 0) > wanted:
                    return False
            elif facts.get(key) != wanted:
                return False
        return True

    def number(self, name, default):
        """A number of params."""
        value = self.params.get(name, default)
        return value if isinstance(value, (int, float)) else default


class FaultList:
    """Ordered faults; deterministic for a given seed."""

    def __init__(self, seed=0):
        self.seed = seed
        self.clear()

    def clear(self):
        self.faults = []
        self.random = random.Random(self.seed)

    def add(self, specs):
        """Takes all faults of a list, or none when one is wrong."""
        self.faults.extend([Fault(spec) for spec in specs])

    def take(self, facts):
        """The fault that strikes this request, or None."""
        for index, fault in enumerate(self.faults):
            if fault.times == 0 or not fault.matches(facts):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if (fault.probability is not None
                    and self.random.random() >= fault.probability):
                continue
            if fault.times > 0:
                fault.times -= 1
                if fault.times == 0:
                    del self.faults[index]
            return fault
        return None

    def report(self):
        return [{"kind": f.kind, "match": f.match, "times": f.times,
                 "probability": f.probability, "params": f.params}
                for f in self.faults]


def deliver(fault, exchange, answer, refuse):
    """Answers an exchange with a fault.

    answer(): applies the request, returns (status, body).  refuse(status,
    number, code, message): an error envelope without applying it.  exchange
    has reply(), send(), later(), close(), reset() and hang().
    """
    handler = _HANDLERS.get(fault.kind)
    if handler is not None:
        handler(fault, exchange, answer, refuse)
        return
    status, body = _altered(fault, answer, refuse)
    headers = {}
    if fault.kind == "wrong_content_type":
        headers["Content-Type"] = str(
            fault.params.get("content_type", "text/plain"))
    elif fault.kind == "html":
        headers["Content-Type"] = "text/html"
    elif fault.kind == "redirect":
        headers["Location"] = str(
            fault.params.get("location", "http://127.0.0.1:1/"))
    if fault.params.get("retry_after") is not None:
        headers["Retry-After"] = str(fault.params["retry_after"])
    exchange.reply(status, body, headers)


def _altered(fault, answer, refuse):
    """The reply of a fault that only changes what is said."""
    params = fault.params
    kind = fault.kind
    if kind == "status":
        status = int(fault.number("status", 500))
        known = STATUS_CODES.get(status, (100023, "InternalServiceError"))
        if params.get("apply"):
            answer()
        if "text" in params:
            return status, str(params["text"]).encode()
        return status, refuse(status, int(fault.number("number", known[0])),
                              str(params.get("code", known[1])),
                              str(params.get("message", "Ordered fault.")))
    if kind == "error_200":
        return 200, refuse(200, int(fault.number("number", 100023)),
                           str(params.get("code", "InternalServiceError")),
                           str(params.get("message", "Ordered fault.")))
    if kind == "gateway":
        status = int(fault.number("status", 502))
        return status, json.dumps({
            "HTTPCode": status, "errorcode": "GatewayError",
            "message": "Ordered fault."}).encode()
    if kind == "html":
        return (int(fault.number("status", 200)),
                b"<html><body><h1>502 Bad Gateway</h1></body></html>")
    if kind == "redirect":
        return int(fault.number("status", 302)), b""
    if kind == "empty":
        return int(fault.number("status", 200)), b""
    if kind == "body":
        return (int(fault.number("status", 200)),
                str(params.get("body", "{}")).encode())
    if kind == "deep":
        depth = int(fault.number("depth", 100000))
        return 200, (b'{"ResponseMetadata":{},"Result":' + b"[" * depth
                     + b"]" * depth + b"}")
    status, body = answer()
    if kind == "non_utf8":
        body = body.replace(b'"RequestId":"', b'"RequestId":"\xff\xfe\x80',
                            1)
    return status, body


def _hang(fault, exchange, answer, refuse):
    if fault.params.get("apply"):
        answer()
    if fault.params.get("phase") == "body":
        exchange.send(exchange.head(200, 4096) + b'{"ResponseMetadata":')
    exchange.hang()


def _reset(fault, exchange, answer, refuse):
    exchange.reset()


def _close(fault, exchange, answer, refuse):
    exchange.close()


def _lost_reply(fault, exchange, answer, refuse):
    answer()
    if fault.params.get("rst"):
        exchange.reset()
    else:
        exchange.close()


def _truncated(fault, exchange, answer, refuse):
    status, body = answer()
    sent = int(fault.number("bytes", len(body) // 2))
    exchange.send(exchange.head(status, len(body)) + body[:sent])
    exchange.close()


def _delay(fault, exchange, answer, refuse):
    seconds = fault.number("ms", 1000) / 1000.0
    if fault.params.get("apply_late"):
        exchange.later(seconds, lambda: exchange.reply(*answer()))
    else:
        status, body = answer()
        exchange.later(seconds, lambda: exchange.reply(status, body))


def _drip(fault, exchange, answer, refuse):
    status, body = answer()
    seconds = fault.number("interval_ms", 100) / 1000.0
    wire = exchange.head(status, len(body)) + body
    step = max(int(fault.number("bytes", 1)), 1)

    def drop(at):
        if exchange.gone:
            return
        exchange.send(wire[at:at + step])
        if at + step < len(wire):
            exchange.later(seconds, lambda: drop(at + step))
        else:
            exchange.sent(status, len(body))

    drop(0)


def _huge(fault, exchange, answer, refuse):
    """A valid reply of N MB, sent only as fast as it is read."""
    status, body = answer()
    chunk = b" " * 65536
    left = int(fault.number("mb", 64) * 16)
    total = len(body) + left * len(chunk)
    exchange.send(exchange.head(status, total) + body[:1])

    def pump(left):
        if exchange.gone:
            return
        while left and not exchange.full:
            exchange.send(chunk)
            left -= 1
        if left:
            exchange.later(0.002, lambda: pump(left))
        else:
            exchange.send(body[1:])
            exchange.sent(status, total)

    pump(left)


_HANDLERS = {"hang": _hang, "reset": _reset, "close": _close,
             "lost_reply": _lost_reply, "truncated": _truncated,
             "delay": _delay, "drip": _drip, "huge": _huge}


def arm_reset(sock):
    """Makes the next close of a socket send RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
