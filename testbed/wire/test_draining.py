"""Deregistered targets: semantics §15 and §5.3."""

import bed as beds
from case import WireCase
from connection import ENDED, Connection
from datagrams import Datagrams

TARGET = beds.TARGETS[2]
TCP_FULL_NAT, TCP_KEEP, UDP = 90, 91, 60
GROUPS = ("drain-full-nat", "drain-keep", "drain-udp")
DELAY = "deregistration_delay.timeout_seconds"
TERMINATE = "deregistration_delay.connection_termination.enabled"


class Deregistered(WireCase):
    """Groups of one target, made for these tests."""

    targets_leave = True

    @classmethod
    def setUpClass(cls):
        for name, protocol, port, listener, keep in (
            ("drain-full-nat", "TCP", 8090, TCP_FULL_NAT, "false"),
            ("drain-keep", "TCP", 8091, TCP_KEEP, "true"),
            ("drain-udp", "UDP", 8090, UDP, "true"),
        ):
            cls.bed.group(name, protocol, port, [TARGET.ip], [listener], {"preserve_client_ip.enabled": keep})

    def setUp(self):
        for name in GROUPS:
            self.bed.register(name, [TARGET.ip])
        for name in GROUPS:
            self.bed.wait_targets(name, "healthy", [TARGET.ip])
        super().setUp()

    def deregister(self, **attributes):
        """Ends the registration; keys of the attributes are those of the API."""
        for name in GROUPS:
            self.bed.attributes(name, {TERMINATE: "false", **attributes})
            self.bed.deregister(name, [TARGET.ip])

    def opened(self):
        """A connection in each mode and a flow of datagrams."""
        return Connection(self, TCP_FULL_NAT).open(), Connection(self, TCP_KEEP).open(), Datagrams(self, UDP).open()

    # req: DRN-04, GEN-07
    def test_without_termination(self):
        """S15.3: open flows go on, also when the delay is over; there are no new ones."""
        full_nat, keep, flow = self.opened()
        self.deregister(**{DELAY: "1"})
        for _ in range(2):
            for connection in (full_nat, keep):
                connection.client_says(b"still here")
                connection.target_says(b"so am I")
            flow.from_client(b"still here")
            flow.from_target(b"so am I")
            self.refuses_new_ones()
            self.bed.wait_targets("drain-keep", "unused", [TARGET.ip])
        for connection in (full_nat, keep):
            connection.close()

    def refuses_new_ones(self):
        """The group has no target for them."""
        for listener in (TCP_FULL_NAT, TCP_KEEP):
            connection = Connection(self, listener)
            connection.resets_client(connection.client_segment("S", seq=connection.isn))
            self.count(listener__no_target=1)
        self.send(self.outside, Datagrams(self, UDP).client_datagram(b"?"), beds.CLIENT.mac)
        self.count(drop="no_target", listener__no_target=1)

    # req: DRN-04
    def test_registered_again(self):
        """S15.4: flows that are open then belong to it again."""
        full_nat, keep = Connection(self, TCP_FULL_NAT).open(), Connection(self, TCP_KEEP).open()
        self.deregister(**{DELAY: "60"})
        self.bed.register("drain-full-nat", [TARGET.ip])
        self.bed.register("drain-keep", [TARGET.ip])
        full_nat.client_says(b"still here")
        keep.client_says(b"still here")
        for connection in (full_nat, keep):
            connection.close()

    # req: DRN-05, ATT-02
    def test_with_termination(self):
        """S15.3, S5.3: when the delay is over, both ends of every open connection get a reset that they accept, also of silent ones."""
        full_nat, keep, _ = self.opened()
        full_nat.client_says(b"request")
        full_nat.target_says(b"answer")
        self.deregister(**{DELAY: "1", TERMINATE: "true"})
        self.expect_ends(full_nat.end_of_client() + keep.end_of_client(), full_nat.end_of_target() + keep.end_of_target())
        for connection in (full_nat, keep):
            self.assertIn(connection.state(), ENDED)
            # A challenge, as any packet after that, is answered.
            connection.resets_client(connection.client_segment("A", seq=connection.next_client + 7))
            connection.resets_target(connection.target_segment("A", seq=connection.next_target + 7))
            self.count(listener__resets=1)

    # req: DRN-05
    def test_with_termination_and_data_under_way(self):
        """S5.3: what has been sent and not acknowledged may have arrived or not: two resets, one of which is right."""
        full_nat, keep, _ = self.opened()
        full_nat.from_target("PA", b"unacknowledged")
        full_nat.from_client("PA", b"neither is this")
        keep.from_client("PA", b"nor this")
        self.deregister(**{DELAY: "1", TERMINATE: "true"})
        outside = full_nat.end_of_client(full_nat.next_target, full_nat.next_target + 14) + keep.end_of_client()
        inside = full_nat.end_of_target(full_nat.next_client, full_nat.next_client + 15)
        self.expect_ends(outside, inside + keep.end_of_target(keep.next_client, keep.next_client + 8))

    def expect_ends(self, outside, inside):
        """Resets on both links, two TCP connections and one flow of UDP being ended."""
        self.expect_made(self.outside, outside, listener__resets=len(outside))
        self.expect_made(self.inside, inside, listener__resets=len(inside))
        self.count(flows_terminated=3)
