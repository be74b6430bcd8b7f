#!/usr/bin/env python3
"""Clouds on the loopback interface, for tests and the demo.

Prints one line, "listening on ADDRESS:PORT", once it serves; ends on SIGTERM.
What it does and how it is driven: README.md beside this file.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import ssl
import sys

sys.dont_write_bytecode = True      # the checkout stays as it is

import aws
import sigv4
from byteplus import SERVICES
from connection import Connection, Server
from signature import Verifier
from world import World

PARENT_POLL_SECONDS = 0.5
BACKLOG = 1024


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    parser.add_argument("--client-ca",
                        help="whose certificates clients may show")
    parser.add_argument("--access-key", default="AKLTEMULATOR")
    parser.add_argument("--secret-key", default="EmulatorSecret")
    parser.add_argument("--session-token")
    parser.add_argument("--boot-delay", type=float, default=2.0,
                        help="seconds until an instance is in service")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--compress", type=float, default=1.0,
                        help="simulated seconds per second")
    parser.add_argument("--load", help="a scene to start with, JSON")
    parser.add_argument("--log", help="file for one JSON line per request")
    parser.add_argument("--seed", type=int, default=0,
                        help="of faults with a probability")
    parser.add_argument("--exit-with-parent", action="store_true")
    args = parser.parse_args(argv)
    if bool(args.tls_cert) != bool(args.tls_key):
        parser.error("--tls-cert and --tls-key go together")
    if args.compress <= 0 or args.boot_delay < 0 or args.latency_ms < 0:
        parser.error("times cannot be negative")
    return args


def tls_context(args):
    """HTTP/1.1 over TLS 1.2 or later, or None for plain HTTP."""
    if not args.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(args.tls_cert, args.tls_key)
    if args.client_ca:
        context.load_verify_locations(args.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


async def watch_parent(parent, stop):
    """Sets stop when the process that started us has gone."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_POLL_SECONDS)
    stop.set()


async def serve(args, world, parent):
    """Serves until SIGTERM, SIGINT or the end of the parent."""
    verifier = Verifier(
        {args.access_key: (args.secret_key, args.session_token)}, SERVICES,
        world.identity)
    context = tls_context(args)
    aws_verifier = sigv4.Verifier(
        {args.access_key: (args.secret_key, args.session_token)}, aws.SERVICES,
        world.identity)
    server = Server(world, verifier, aws_verifier, args.latency_ms,
                    context is not None)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = await loop.create_server(
        lambda: Connection(server), args.bind, args.port, ssl=context,
        backlog=BACKLOG, reuse_address=True, family=socket.AF_UNSPEC)
    address = listener.sockets[0].getsockname()
    host = "[%s]" % address[0] if ":" in address[0] else address[0]
    print("listening on %s:%d" % (host, address[1]), flush=True)
    watcher = None
    if args.exit_with_parent:
        watcher = asyncio.ensure_future(watch_parent(parent, stop))
    await stop.wait()
    if watcher is not None:
        watcher.cancel()
    listener.close()
    for connection in list(server.connections):
        connection.transport.abort()


def main(argv=None):
    """Entry point."""
    parent = os.getppid()
    args = arguments(argv)
    try:
        world = World(args.boot_delay, args.compress, args.seed, args.log)
        if args.load:
            with open(args.load, encoding="utf-8") as file:
                world.load(json.load(file))
        asyncio.run(serve(args, world, parent))
    except (OSError, ValueError) as error:
        print("emulator: %s" % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
