"""Stickiness by source address: semantics §14."""

import bed as beds
from case import WireCase
from connection import Connection
from datagrams import Datagrams

STICKY, STICKY_TOO, STICKY_KEEP, STICKY_UDP = 94, 95, 96, 61
CLIENTS = [f"10.1.0.{number}" for number in range(160, 200)]
GONE = beds.TARGETS[2]


class Sticky(WireCase):
    """Groups that keep a client at a target."""

    @classmethod
    def setUpClass(cls):
        targets = [host.ip for host in beds.TARGETS]
        sticky = {"stickiness.enabled": "true", "stickiness.type": "source_ip"}
        for name, protocol, port, listeners, keep in (
            ("sticky", "TCP", 8094, [STICKY, STICKY_TOO], "false"),
            ("sticky-keep", "TCP", 8095, [STICKY_KEEP], "true"),
            ("sticky-udp", "UDP", 9003, [STICKY_UDP], "true"),
        ):
            attributes = {"preserve_client_ip.enabled": keep, **sticky}
            cls.bed.group(name, protocol, port, targets, listeners, attributes)
        for name in ("sticky", "sticky-keep", "sticky-udp"):
            cls.bed.wait_targets(name, "healthy")

    def targets_of(self, listener, make=Connection, clients=CLIENTS):
        """Where a flow of each client goes."""
        found = {}
        for client in clients:
            flow = make(self, listener, client=(client, self.port()))
            flow.open()
            found[client] = flow.target[0]
        return found

    # req: STK-05, ATT-06, ATT-07
    def test_a_client_stays(self):
        """S14.1: whatever its port and ISN; the clients are spread over the targets."""
        for listener, make in ((STICKY, Connection), (STICKY_KEEP, Connection), (STICKY_UDP, Datagrams)):
            before = self.targets_of(listener, make)
            self.assertEqual(len(set(before.values())), len(beds.TARGETS))
            for _ in range(3):
                self.assertEqual(self.targets_of(listener, make), before)
        for isn in range(30):
            connection = Connection(self, STICKY, client=(CLIENTS[0], self.port()), isn=isn * 0x5555555)
            connection.syn()
            self.assertEqual(connection.target[0], self.targets_of(STICKY, clients=CLIENTS[:1])[CLIENTS[0]])

    def test_two_listeners_of_a_group(self):
        """S14.1: it is the group that is sticky."""
        self.assertEqual(self.targets_of(STICKY), self.targets_of(STICKY_TOO))

    # req: STK-03, STK-06
    def test_a_target_leaves_and_comes_back(self):
        """S14.2, S14.3: its clients move away, and back; hardly anybody else does. Open flows stay where they are."""
        before = self.targets_of(STICKY)
        stays = next(client for client in CLIENTS if before[client] == GONE.ip)
        connection = Connection(self, STICKY, client=(stays, self.port())).open()
        self.bed.deregister("sticky", [GONE.ip])
        during = self.targets_of(STICKY)
        self.assertNotIn(GONE.ip, during.values())
        moved = [client for client in CLIENTS if before[client] not in (GONE.ip, during[client])]
        self.assertLessEqual(len(moved), len(CLIENTS) // 8, f"moved for nothing: {moved}")
        connection.client_says(b"still here")
        self.bed.register("sticky", [GONE.ip])
        self.bed.wait_targets("sticky", "healthy", [GONE.ip])
        self.assertEqual(self.targets_of(STICKY), before)
        connection.client_says(b"still here")

    def test_a_syn_sent_again_and_a_new_one(self):
        """The same target, whatever the ISN."""
        first = Connection(self, STICKY, client=(CLIENTS[1], self.port()))
        first.syn()
        for isn in range(first.isn + 1, first.isn + 10):
            again = Connection(self, STICKY, client=first.client, isn=isn)
            again.syn()
            self.count(flows_closed=1)
            self.assertEqual(again.target, first.target)
