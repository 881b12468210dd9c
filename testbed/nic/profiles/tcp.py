"""TRex, advanced stateful: TCP connections to the service, answered by TRex's servers behind its second port.

`connections`: connect, a request, an answer, close: for new connections per second. With `hold_s` they stay open in between: for
concurrent ones. `http`: several requests and answers on a connection, of HTTP's form: for throughput and requests per second.

For TRex's console: start -f tcp.py -t answer=1024,requests=10
"""

import argparse
import os
import sys

from trex.astf.api import (
    ASTFAssociationRule,
    ASTFIPGen,
    ASTFIPGenDist,
    ASTFIPGenGlobal,
    ASTFProfile,
    ASTFProgram,
    ASTFTCPClientTemplate,
    ASTFTCPServerTemplate,
    ASTFTemplate,
)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import settings as bench_settings  # noqa: E402 (the path is set above)

REQUEST = b"GET /object HTTP/1.1\r\nHost: service.example\r\nAccept: */*\r\n\r\n"


def answer(size):
    """An answer of HTTP with a body of so many bytes."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"x" * size


def programs(size, requests, hold_s):
    """What client and server do: so many requests one after the other, with pauses between them that make hold_s together."""
    client, server = ASTFProgram(), ASTFProgram()
    for side in [client, server]:
        side.set_var("left", requests)
        side.set_label("again:")
    client.send(REQUEST)
    client.recv(len(answer(size)), clear=True)
    server.recv(len(REQUEST), clear=True)
    server.send(answer(size))
    if hold_s:
        client.delay(int(hold_s * 1e6 / requests))
    for side in [client, server]:
        side.jmp_nz("left", "again:")
    if hold_s or requests > 1:
        # Whoever closes first has the state of a closed connection: the client.
        server.wait_for_peer_close()
    return client, server


def profile(settings, size=64, requests=1, hold_s=0.0):
    """A profile of one connection per second; TRex's multiplier is the rate then."""
    client, server = programs(size, requests, hold_s)
    addresses = ASTFIPGen(
        # The two ports are a pair: nothing is added to addresses for others.
        glob=ASTFIPGenGlobal(ip_offset="0.0.0.0"),
        dist_client=ASTFIPGenDist(ip_range=list(settings.clients), distribution="seq"),
        # What clients connect to: a single address, so TRex gets a single thread (trex_trials.command). What arrives at the servers has
        # a target's address, and is told by its port.
        dist_server=ASTFIPGenDist(ip_range=[settings.service, settings.service], distribution="seq"),
    )
    template = ASTFTemplate(
        client_template=ASTFTCPClientTemplate(program=client, ip_gen=addresses, port=settings.tcp_port, cps=1),
        server_template=ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=settings.tcp_port)),
    )
    return ASTFProfile(default_ip_gen=addresses, templates=template)


class Profile:
    """What TRex's console loads."""

    def get_profile(self, tunables=(), **_):
        """The profile, with the settings of the file that LEAT_BENCH names, or the defaults."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--answer", type=int, default=64, help="bytes of the answer's body")
        parser.add_argument("--requests", type=int, default=1, help="requests of a connection")
        parser.add_argument("--hold", type=float, default=0.0, help="seconds that a connection lasts at least")
        given = parser.parse_args(list(tunables))
        path = os.environ.get("LEAT_BENCH")
        settings = bench_settings.load(path) if path else bench_settings.Settings()
        return profile(settings, given.answer, given.requests, given.hold)


def register():
    """Called by TRex."""
    return Profile()
