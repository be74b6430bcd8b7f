"""HTTP/1.1 by hand over asyncio: connections and exchanges.

Written for speed (thousands of signed requests per second on one core) and
for control: a fault may cut, drip or reset at any byte.
"""

import asyncio
import json
import re
import socket
import time

import admin
import aws
import exposition
import faults
import kubernetes
import sigv4
from byteplus import ApiError, Request
from identity import Identity, IdentityRequest
from signature import SignatureError

MAX_HEAD = 64 * 1024
MAX_API_BODY = 1024 * 1024
MAX_CONTROL_BODY = 256 * 1024 * 1024

REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized",
           403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
           408: "Request Timeout", 409: "Conflict", 410: "Gone", 413: "Content Too Large",
           415: "Unsupported Media Type", 422: "Unprocessable Entity",
           429: "Too Many Requests",
           431: "Request Header Fields Too Large",
           500: "Internal Server Error", 501: "Not Implemented",
           502: "Bad Gateway", 503: "Service Unavailable",
           504: "Gateway Timeout"}

_ERROR_CODE = re.compile(rb'"Error":\s?\{"Code": ?"([^"]*)"'
                         rb'|<Code>([^<]*)</Code>'
                         rb'|"__type": "[^"#]*#([^"]*)"')

JSON_TYPE = "application/json; charset=utf-8"


class BadRequest(Exception):
    """Not HTTP as this server understands it."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Message:
    """A parsed request head."""

    __slots__ = ("method", "path", "query", "headers", "keep", "length",
                 "chunked")

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadRequest(400, "malformed request line")
        self.method, target, version = parts
        if not target.startswith("/"):
            raise BadRequest(400, "only origin-form targets")
        self.path, _, self.query = target.partition("?")
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest(400, "malformed header")
            name, value = name.lower(), value.strip()
            if name in self.headers:
                value = self.headers[name] + "," + value
            self.headers[name] = value
        if "host" not in self.headers:
            raise BadRequest(400, "no Host header")
        wish = self.headers.get("connection", "").lower()
        self.keep = ("close" not in wish if version == "HTTP/1.1"
                     else "keep-alive" in wish)
        self.chunked = "chunked" in self.headers.get(
            "transfer-encoding", "").lower()
        length = self.headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 12:
            raise BadRequest(400, "malformed Content-Length")
        self.length = int(length)


class Exchange:
    """One API request until its answer, if it gets one."""

    def __init__(self, connection, entry):
        self.connection = connection
        self.entry = entry
        self.content_type = JSON_TYPE
        self.timer = None
        self.gone = False

    @property
    def full(self):
        """Whether the peer does not read as fast as we write."""
        return self.connection.paused

    def head(self, status, length, headers=None):
        """The reply's head as bytes."""
        return self.connection.head(status, length, headers,
                                    self.entry["request_id"],
                                    self.content_type)

    def send(self, data):
        self.connection.transport.write(data)

    def later(self, seconds, call):
        self.timer = self.connection.loop.call_later(seconds, self._due, call)

    def _due(self, call):
        if not self.gone:
            call()

    def reply(self, status, body, headers=None):
        """A whole answer."""
        self.send(self.head(status, len(body), headers) + body)
        refused = _ERROR_CODE.search(body[:1000])
        error = "HTTP %d" % status if status >= 300 else None
        if refused is not None:
            error = refused.group(refused.lastindex).decode("utf-8",
                                                            "replace")
        self.sent(status, len(body), error)

    def sent(self, status, length, error=None):
        """The last byte of an answer was handed over."""
        self.entry["bytes"] = length
        self._finish(status, error)
        self.connection.exchange_done()

    def hang(self):
        """Nothing more will come, until the peer gives up."""

    def close(self):
        self._finish(None, "closed")
        self.connection.close()

    def reset(self):
        self._finish(None, "reset")
        self.connection.reset()

    def abandoned(self):
        """The peer has gone."""
        self._finish(None, "peer gone")

    def _finish(self, status, error):
        self.gone = True
        if self.timer is not None:
            self.timer.cancel()
        world = self.connection.server.world
        world.ledger.finish(self.entry, status, error, world.now())


class Server:
    """What all connections share."""

    def __init__(self, world, verifier, aws_verifier, latency_ms=0.0,
                 tls=False):
        self.world = world
        self.verifier = verifier
        self.aws_verifier = aws_verifier
        self.latency = latency_ms / 1000.0
        self.tls = tls
        self.serial = 0
        self.requests = 0
        self.connections = set()
        self._second = None
        self._date = ""
        self._stamp = ""

    def tick(self, now):
        """The texts that change once a second."""
        second = int(now)
        if second != self._second:
            self._second = second
            utc = time.gmtime(second)
            self._date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", utc)
            self._stamp = time.strftime("%Y%m%d%H%M%S", utc)
        return self._date

    def request_id(self, now):
        self.tick(now)
        self.requests += 1
        return "%s%018X" % (self._stamp, self.requests)


class Connection(asyncio.Protocol):
    """One client connection; one request at a time, pipelining queued."""

    def __init__(self, server):
        self.server = server
        self.loop = asyncio.get_running_loop()
        server.serial += 1
        self.id = server.serial
        self.transport = None
        self.buffer = b""
        self.message = None
        self.exchange = None
        self.paused = False
        self.counted = False
        self.closing = False

    # ---- asyncio ----------------------------------------------------------

    def connection_made(self, transport):
        self.transport = transport
        self.server.connections.add(self)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc):
        self.closing = True
        self.server.connections.discard(self)
        if self.counted:
            self.server.world.ledger.connections_open -= 1
        if self.exchange is not None:
            self.exchange.abandoned()
            self.exchange = None

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False

    def data_received(self, data):
        self.buffer = self.buffer + data if self.buffer else data
        if self.exchange is None:
            self._consume()
        elif len(self.buffer) > MAX_API_BODY:
            self.close()

    # ---- reading ----------------------------------------------------------

    def _consume(self):
        """Takes whole requests off the buffer while nothing is pending."""
        try:
            while self.exchange is None and not self.closing:
                if self.message is None and not self._take_head():
                    return
                body = self._take_body()
                if body is None:
                    return
                message, self.message = self.message, None
                self._dispatch(message, body)
        except BadRequest as error:
            body = json.dumps({"error": str(error)}).encode()
            self.transport.write(self.head(error.status, len(body)) + body)
            self.close()

    def _take_head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD:
            if len(self.buffer) > MAX_HEAD:
                raise BadRequest(431, "the head is too long")
            return False
        self.message = Message(self.buffer[:end])
        self.buffer = self.buffer[end + 4:]
        control = self.message.path.startswith("/_emulator/")
        most = MAX_CONTROL_BODY if control else MAX_API_BODY
        if self.message.length > most:
            raise BadRequest(413, "the body is too long")
        if (self.message.headers.get("expect", "").lower() == "100-continue"
                and len(self.buffer) < max(self.message.length, 1)):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _take_body(self):
        """The body, or None until it is complete."""
        if self.message.chunked:
            return self._take_chunks()
        length = self.message.length
        if len(self.buffer) < length:
            return None
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return body

    def _take_chunks(self):
        parts, at = [], 0
        while True:
            end = self.buffer.find(b"\r\n", at)
            if end < 0:
                break
            try:
                size = int(self.buffer[at:end].split(b";")[0], 16)
            except ValueError:
                raise BadRequest(400, "malformed chunk") from None
            if size < 0:
                raise BadRequest(400, "malformed chunk")
            at = end + 2 + size + 2
            if len(self.buffer) < at:
                break
            if size == 0:
                self.buffer = self.buffer[at:]
                return b"".join(parts)
            parts.append(self.buffer[end + 2:end + 2 + size])
        if len(self.buffer) > MAX_API_BODY:
            raise BadRequest(413, "the body is too long")
        return None

    # ---- answering --------------------------------------------------------

    def head(self, status, length, headers=None, request_id=None,
             content_type=JSON_TYPE):
        """A reply's head."""
        lines = ["HTTP/1.1 %d %s" % (status, REASONS.get(status, "Other")),
                 "Date: " + self.server.tick(self.server.world.now()),
                 "Content-Length: %d" % length]
        if not headers or "Content-Type" not in headers:
            lines.append("Content-Type: " + content_type)
        if request_id:
            lines.append("X-Tt-Logid: " + request_id)
        for name, value in (headers or {}).items():
            lines.append("%s: %s" % (name, value.replace("\r", "").replace(
                "\n", "")))
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1", "replace")

    def _dispatch(self, message, body):
        if not message.keep:
            # Said before answering: exchange_done() looks at it.
            self.closing_after = True
        if message.path.startswith("/_emulator/webhook"):
            if self._webhook_fault(message, body):
                return
        if message.path.startswith("/_emulator/"):
            status, reply = admin.handle(self.server.world, message, body)
            text = json.dumps(reply).encode()
            self.transport.write(self.head(status, len(text)) + text)
            self.exchange_done()
        elif message.path == "/metrics":
            text = exposition.render(self.server.world)
            self.transport.write(self.head(
                200, len(text), content_type=exposition.CONTENT_TYPE) + text)
            self.exchange_done()
        elif message.path.startswith(("/api/", "/apis/")):
            self._kubernetes(message, body)
        elif Identity.action_of(message, body) is not None:
            self._identity(message, body)
        else:
            self._api(message, body)

    closing_after = False

    def _webhook_fault(self, message, body):
        """Lets a fault strike a webhook; whether one did."""
        fault = self.server.world.faults.take({"action": "webhook",
                                               "ids": ()})
        if fault is None:
            return False
        # Sequence 0: it is no API request and counts as none.
        self.exchange = Exchange(self, {
            "seq": 0, "action": "webhook", "request_id": "", "end": None,
            "error": None, "fault": fault.kind})

        def answer():
            status, reply = admin.handle(self.server.world, message, body)
            return status, json.dumps(reply).encode()

        faults.deliver(fault, self.exchange, answer,
                       lambda status, number, code, text: json.dumps(
                           {"error": text}).encode())
        return True

    def _count(self):
        """The first API request makes it a connection that counts."""
        ledger = self.server.world.ledger
        self.counted = True
        ledger.connections_accepted += 1
        ledger.connections_open += 1
        if self.server.tls:
            session = self.transport.get_extra_info("ssl_object")
            if session is not None and session.session_reused:
                ledger.tls_resumed += 1
            else:
                ledger.tls_handshakes += 1

    def _api(self, message, body):
        """A request to the cloud: check, note, fail as ordered, answer."""
        if not self.counted:
            self._count()
        server = self.server
        world = server.world
        now = world.now()
        scope = refusal = None
        for_aws = sigv4.is_aws(message.headers)
        verifier = server.aws_verifier if for_aws else server.verifier
        try:
            scope = verifier.verify(
                message.method, message.path, message.query, message.headers,
                body, now)
        except (SignatureError, sigv4.Refused) as error:
            refusal = error
        if for_aws:
            api, request = world.aws, aws.Request(message, body, scope)
        else:
            api, request = world.api, Request(message.method, message.query,
                                              body, scope)
        request.request_id = server.request_id(now)
        entry = world.ledger.begin(request, self.id, message.query, body, now)
        entry["signature_ok"] = refusal is None
        exchange = Exchange(self, entry)
        if for_aws:
            exchange.content_type = api.content_type(request)
        self.exchange = exchange
        if refusal is not None:
            world.ledger.signature_failures += 1
            entry["error"] = refusal.code
            entry["detail"] = refusal.detail
            self._reply(exchange, refusal.status, api.refusal(
                request, refusal))
            return
        fault = world.faults.take(request.facts())
        if fault is None:
            self._reply(exchange, *api.answer(request))
            return
        entry["fault"] = fault.kind
        faults.deliver(
            fault, exchange, lambda: api.answer(request),
            lambda status, number, code, text: api.refusal(
                request, ApiError(status, code, text, number)))

    def _identity(self, message, body):
        """A request for temporary credentials; unsigned."""
        world = self.server.world
        now = world.now()
        action = Identity.action_of(message, body)
        request = IdentityRequest(action, message.method)
        request.request_id = self.server.request_id(now)
        exchange = Exchange(self, world.ledger.begin(
            request, self.id, message.query, body, now))
        self.exchange = exchange

        def answer():
            return world.identity.answer(action, message, body, now)

        fault = world.faults.take(request.facts())
        if fault is None:
            self._reply(exchange, *answer())
            return
        exchange.entry["fault"] = fault.kind
        faults.deliver(fault, exchange, answer,
                       lambda status, number, code, text: world.identity
                       .refusal(action, code, text))

    def _kubernetes(self, message, body):
        """A request to the API server; it checks who it is from itself."""
        if not self.counted:
            self._count()
        world = self.server.world
        now = world.now()
        cluster = world.kubernetes
        request = kubernetes.Request(message, body)
        request.request_id = self.server.request_id(now)
        exchange = Exchange(self, world.ledger.begin(
            request, self.id, message.query, body, now))
        exchange.content_type = "application/json"
        self.exchange = exchange
        certificate = self.transport.get_extra_info("peercert")

        def answer():
            return cluster.answer(request, message, certificate, now)

        fault = world.faults.take(request.facts())
        if fault is None:
            self._reply(exchange, *answer())
            return
        exchange.entry["fault"] = fault.kind
        faults.deliver(fault, exchange, lambda: answer()[:2],
                       lambda status, number, code, text: cluster.refusal(
                           status, code, text))

    def _reply(self, exchange, status, body, headers=None):
        if self.server.latency:
            exchange.later(self.server.latency,
                           lambda: exchange.reply(status, body, headers))
        else:
            exchange.reply(status, body, headers)

    def exchange_done(self):
        """Ready for the next request, unless the peer wants to close."""
        waiting = self.exchange is not None
        self.exchange = None
        if self.closing_after:
            self.close()
        elif waiting and self.buffer:
            # From the loop, not from here: pipelined requests must not
            # deepen the stack.
            self.loop.call_soon(self._resume)

    def _resume(self):
        if self.exchange is None and not self.closing:
            self._consume()

    def close(self):
        self.closing = True
        self.exchange = None
        self.transport.close()

    def reset(self):
        self.closing = True
        self.exchange = None
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            faults.arm_reset(sock)
        self.transport.abort()
