#!/usr/bin/env python3
"""Drives the emulator's control API from shells and other languages.

    control.py http://127.0.0.1:PORT METHOD /path [JSON | @file | -]

Prints the answer as JSON; exits 1 when the emulator refused, 2 when it could
not be reached.  Paths may leave out the leading /_emulator.
"""

import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 30


class ControlError(Exception):
    """A refused control call."""


def request(url, method, path, data=None, timeout=TIMEOUT_SECONDS):
    """The decoded answer; ControlError with the emulator's reason."""
    parts = urlsplit(url)
    if not path.startswith("/_emulator/"):
        path = "/_emulator/" + path.lstrip("/")
    if parts.scheme == "https":
        # The emulator's certificate is made up by the test that started it.
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=timeout,
            context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port,
                                                timeout=timeout)
    try:
        body = None if data is None else json.dumps(data)
        connection.request(method, path, body)
        reply = connection.getresponse()
        answer = json.loads(reply.read())
    finally:
        connection.close()
    if reply.status != 200:
        raise ControlError(answer.get("error", "status %d" % reply.status))
    return answer


def main(argv):
    """Entry point."""
    if len(argv) not in (4, 5):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        data = None
        if len(argv) == 5:
            text = argv[4]
            if text == "-":
                text = sys.stdin.read()
            elif text.startswith("@"):
                with open(text[1:], encoding="utf-8") as file:
                    text = file.read()
            data = json.loads(text)
        answer = request(argv[1], argv[2].upper(), argv[3], data)
    except ControlError as error:
        print("control: %s" % error, file=sys.stderr)
        return 1
    except (OSError, ValueError, http.client.HTTPException) as error:
        print("control: %s" % error, file=sys.stderr)
        return 2
    print(json.dumps(answer, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
