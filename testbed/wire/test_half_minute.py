"""What happens half a minute after the first packet of a flow: all in one test, which waits once."""

import time

import bed as beds
from connection import ENDED, OPTIONS_ANSWER, Connection
from datagrams import Datagrams
from proxy import LENGTH, ProxiedConnection
from test_proxy import PROXY_FULL_NAT, Proxied

HALF_OPEN_S = 30
# Stamps are whole seconds, on both sides of the deadline.
MARGIN_S = 2


class HalfMinute(Proxied):
    """S6.3, S7.2: targets must answer within 30 s. S8.3: and acknowledge PROXY headers within 26."""

    # req: IDL-06
    def test_the_return_path_closes(self):
        began = time.monotonic()
        silent = [Connection(self, listener) for listener in (beds.FULL_NAT, beds.KEEP)]
        handshakes = [Connection(self, listener) for listener in (beds.FULL_NAT, beds.KEEP)]
        for connection in silent + handshakes:
            connection.syn()
        for connection in handshakes:
            connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        syslog, late = Datagrams(self, beds.UDP).open(), Datagrams(self, beds.UDP).open()
        answered = Datagrams(self, beds.UDP).open()
        unacknowledged = ProxiedConnection(self, PROXY_FULL_NAT).open(acknowledge=False)

        time.sleep(max(0, began + HALF_OPEN_S - MARGIN_S - time.monotonic()))
        # The header came six times more, each after twice the time, and then both ends were reset (S8.3).
        for _ in range(6):
            unacknowledged.expect_header()
        self.expect_made(self.outside, unacknowledged.end_of_client())
        first = unacknowledged.isn + 1
        self.expect_made(self.inside, unacknowledged.end_of_target(first, first + LENGTH))
        self.count(pp2_unacked=1, flows_terminated=1, listener__resets=3)
        self.assertIn(unacknowledged.state(), ENDED)
        # Just in time. A SYN sent again extends nothing.
        answered.from_target(b"at last")
        for connection in silent:
            connection.forwards_from_client(connection.client_segment("S", seq=connection.isn))
            self.assertEqual(connection.state(), "syn-sent")
        syslog.from_client(b"one way goes on")

        time.sleep(max(0, began + HALF_OPEN_S + MARGIN_S - time.monotonic()))
        for connection in silent:
            self.assertIsNone(connection.state())
            # The target is told, the client is not.
            connection.resets_target(connection.target_segment("SA", seq=connection.isn_target))
        for connection in handshakes:
            connection.resets_client(connection.client_segment("A"))
        for flow in (syslog, late):
            self.send(self.inside, flow.target_datagram(b"too late"), flow.target_mac)
            self.count(drop="reply_late")
        syslog.from_client(b"still one way")
        answered.from_target(b"and again")
        answered.from_client(b"thanks")
