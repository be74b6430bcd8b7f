"""A client of the API server, in the manner of a kubectl that says little."""

import http.client
import json
import ssl
import threading
import time


class Api:
    """Requests over one TLS connection per thread, with a client certificate
    or with a bearer token."""

    def __init__(self, port, ca, cert=None, key=None, token=None):
        self.port = port
        self.context = ssl.create_default_context(cafile=ca)
        if cert:
            self.context.load_cert_chain(cert, key)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.local = threading.local()

    def request(self, method, path, body=None, content_type=None):
        """Status, headers and body; a connection that has ended is made anew
        once."""
        headers = dict(self.headers, Accept="application/json")
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        for attempt in (0, 1):
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = http.client.HTTPSConnection(
                    "127.0.0.1", self.port, context=self.context, timeout=90)
                self.local.connection = connection
            try:
                connection.request(method, path, body, headers)
                reply = connection.getresponse()
                return reply.status, reply.headers, reply.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self.local.connection = None
                if attempt:
                    raise

    def call(self, method, path, body=None, content_type=None, allow=()):
        """The decoded reply; raises for any status but success and those that
        are allowed, for which it answers None."""
        status, _, text = self.request(method, path, body, content_type)
        if status in allow:
            return None
        if status >= 400:
            raise ApiError(status, f"{method} {path}: {status} "
                           + text.decode(errors="replace")[:500])
        return json.loads(text)

    def merge(self, path, patch, allow=()):
        """A merge patch."""
        return self.call("PATCH", path, patch,
                         "application/merge-patch+json", allow)

    def wait_ready(self, seconds, alive):
        """Polls /readyz; alive() says whether it is worth going on."""
        deadline = time.monotonic() + seconds
        seen = None
        while time.monotonic() < deadline and alive():
            try:
                status, _, seen = self.request("GET", "/readyz?verbose")
                if status == 200:
                    return
            except OSError as error:
                seen = error
            time.sleep(0.1)
        raise TimeoutError(f"the API server is not ready: {seen}")


class ApiError(Exception):
    """A refused request."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
