#!/usr/bin/env python3
"""An endpoint for webhooks on the loopback interface, for tests.

Prints one line, "listening on ADDRESS:PORT", once it serves; ends on SIGTERM
or with its parent.  Knows nothing of the code under test: signatures are
computed from the Standard Webhooks specification with Python's own hmac.

    PUT /_control     {"path": "/a", "answers": [...], "secrets": [...]}
    GET /_received    all POSTs so far, oldest first

An answer is {"status": 500, "headers": {...}, "body": "..."}, {"hang": true},
{"garbage": true} or {"close": true}.  The last one of a list repeats; without
a list a path answers 200.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import signal
import socketserver
import sys
import threading
import time

sys.dont_write_bytecode = True

PARENT_POLL_SECONDS = 0.5
HANG_SECONDS = 120
TOLERANCE_SECONDS = 300


def key_of(secret):
    """The bytes that sign."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret[len("whsec_"):])
    return secret.encode()


def valid_secrets(secrets, headers, body):
    """Which of the secrets the signature header proves, by their index."""
    signed = b"%s.%s.%s" % (headers.get("webhook-id", "").encode(),
                            headers.get("webhook-timestamp", "").encode(), body)
    given = headers.get("webhook-signature", "").split(" ")
    found = []
    for index, secret in enumerate(secrets):
        digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
        if "v1," + base64.b64encode(digest).decode() in given:
            found.append(index)
    return found


class Endpoint:
    """What all connections share."""

    def __init__(self):
        self.lock = threading.Lock()
        self.received = []
        self.scripts = {}

    def control(self, order):
        """Replaces what is known about a path."""
        with self.lock:
            self.scripts[order["path"]] = {
                "answers": list(order.get("answers", [])),
                "secrets": order.get("secrets", [])}

    def take(self, path, headers, body):
        """Records a POST; returns the answer to give."""
        with self.lock:
            script = self.scripts.get(path, {"answers": [], "secrets": []})
            try:
                document = json.loads(body)
            except ValueError:
                document = None
            stamp = headers.get("webhook-timestamp", "0")
            self.received.append({
                "path": path, "at": time.time(), "body": document,
                "length": len(body),
                "content_type": headers.get("content-type"),
                "id": headers.get("webhook-id"),
                "signed": "webhook-signature" in headers,
                "fresh": stamp.isdigit()
                         and abs(time.time() - int(stamp)) < TOLERANCE_SECONDS,
                "valid": valid_secrets(script["secrets"], headers, body)})
            answers = script["answers"]
            if not answers:
                return {"status": 200}
            return answers.pop(0) if len(answers) > 1 else answers[0]


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    endpoint = None

    def log_message(self, format, *args):
        """Says nothing."""

    def reply(self, status, body=b"", headers=None):
        """A complete answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        """The request's."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        """Control."""
        with self.endpoint.lock:
            text = json.dumps(self.endpoint.received)
        self.reply(200, text.encode())

    def do_PUT(self):
        """Control."""
        self.endpoint.control(json.loads(self.body()))
        self.reply(200)

    def do_POST(self):
        """A webhook."""
        headers = {k.lower(): v for k, v in self.headers.items()}
        answer = self.endpoint.take(self.path, headers, self.body())
        if answer.get("hang"):
            time.sleep(HANG_SECONDS)
            self.close_connection = True
        elif answer.get("close"):
            self.close_connection = True
        elif answer.get("garbage"):
            self.wfile.write(b"\x00\xffthis is not HTTP\r\n\r\n")
            self.close_connection = True
        else:
            self.reply(answer.get("status", 200),
                       answer.get("body", "").encode(),
                       answer.get("headers"))


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A thread for each connection, none of which is waited for."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A peer that went away is no news."""


def watch_parent(parent):
    """Ends with the process that started us."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(0)


def main():
    """Entry point."""
    parent = os.getppid()
    Handler.endpoint = Endpoint()
    server = Server(("127.0.0.1", 0), Handler)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Thread(target=watch_parent, args=(parent,), daemon=True).start()
    print("listening on %s:%d" % server.server_address, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
