"""Targets that become unhealthy, and the load balancer's own resets: semantics §5.3, §5.4, §7.4, §16.1.

One test opens all flows first and looks at all of them afterwards, because a target takes some rounds of checks to become
unhealthy, and some to become healthy again.
"""

import bed as beds
from case import WireCase
from connection import ENDED, OPTIONS_ANSWER, Connection
from datagrams import Datagrams

# The only target of some groups: they fail open.
ONLY = beds.TARGETS[0]
# One of four of the others.
SICK = beds.TARGETS[3]
GROUPS = {ONLY: ("one-full-nat", "one-keep", "udp-one"), SICK: ("full-nat", "keep", "udp")}


class Unhealthy(WireCase):
    """Two targets are sick for a while."""

    def to_the_sick_one(self, listener, make=Connection):
        """A flow to the one of four that will become unhealthy."""
        for _ in range(100):
            flow = make(self, listener)
            flow.open() if make is Datagrams else flow.syn()
            if flow.target[0] == SICK.ip:
                return flow
        raise AssertionError("100 flows, and none to the fourth of four targets")

    def connection(self, listener):
        """An established connection to it, with data both ways."""
        connection = self.to_the_sick_one(listener)
        connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        connection.from_client("A")
        connection.client_says(b"request")
        connection.target_says(b"answer")
        return connection

    def wait(self, state):
        """Until the appliance has seen it."""
        for target, groups in GROUPS.items():
            for group in groups:
                self.bed.wait_targets(group, state, [target.ip])

    def tearDown(self):
        ONLY.is_healthy = SICK.is_healthy = True
        for group in sum(GROUPS.values(), ()):
            self.bed.wait_targets(group, "healthy")

    # req: HC-20, TRB-05, TRB-07
    def test_what_becomes_of_its_flows(self):
        speaking = [self.connection(beds.FULL_NAT), self.connection(beds.KEEP)]
        restarted = self.connection(beds.KEEP)
        datagrams = self.to_the_sick_one(beds.UDP, Datagrams)
        open_anyhow = [Connection(self, beds.ONE_FULL_NAT).open(), Connection(self, beds.ONE_KEEP).open()]
        open_datagrams = Datagrams(self, beds.UDP_ONE).open()

        ONLY.is_healthy = SICK.is_healthy = False
        self.wait("unhealthy")

        # TCP is reset at the client's next packet, not before.
        for connection in speaking:
            self.assertEqual(connection.state(), "established")
            connection.resets_client(connection.client_segment("PA", b"are you there?"))
            # The target gets one as well, which it accepts, so that it frees the socket (S5.4).
            self.expect_made(self.inside, connection.end_of_target(), listener__resets=1)
            self.count(flows_terminated=1)
            self.assertIn(connection.state(), ENDED)
            # Whatever they say after that is answered too.
            connection.resets_client(connection.client_segment("A"))
            connection.resets_target(connection.target_segment("A"))
            self.count(listener__resets=1)
        # A client that begins anew does so elsewhere.
        again = Connection(self, beds.KEEP, client=restarted.client, isn=restarted.isn + 500_000).open()
        self.count(flows_closed=1)
        self.assertNotEqual(again.target[0], SICK.ip)
        # UDP chooses again at once (S7.4).
        moved = Datagrams(self, beds.UDP, client=datagrams.client).open(b"still there?")
        self.count(flows_terminated=1)
        self.assertNotEqual(moved.target[0], SICK.ip)
        for _ in range(20):
            self.assertNotEqual(Connection(self, beds.FULL_NAT).open().target[0], SICK.ip)
            self.assertNotEqual(Datagrams(self, beds.UDP).open().target[0], SICK.ip)

        # Where all targets are unhealthy, all are used (S16.2): flows go on, and there are new ones.
        for connection in open_anyhow:
            connection.client_says(b"still there?")
            connection.target_says(b"I am")
        open_datagrams.from_client(b"still there?")
        Connection(self, beds.ONE_FULL_NAT).open().client_says(b"new")
