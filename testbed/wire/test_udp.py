"""UDP: semantics §7, and the checksums that only UDP has."""

from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

import bed as beds
from case import WireCase, flipped, ip, translated
from datagrams import Datagrams


def checksum_at(packet, offset=26):
    """The UDP checksum as the packet's bytes have it."""
    return int.from_bytes(bytes(packet)[offset : offset + 2], "big")


class Udp(WireCase):
    """Flows of datagrams."""

    # req: RT-03, CIP-02, IDL-05
    def test_both_ways(self):
        """S7.1: the client's address is kept, every datagram goes to the same target, and answers come from the node."""
        flow = Datagrams(self, beds.UDP).open()
        for size in (0, 1, 511, beds.INSIDE_MTU - 28):
            flow.from_client(b"q" * size)
            flow.from_target(b"a" * size)

    # req: RT-03, RT-04
    def test_flows_are_spread(self):
        """S2.1: every flow has a target of its own choice, and keeps it."""
        flows = [Datagrams(self, beds.UDP).open() for _ in range(40)]
        self.assertEqual({flow.target[0] for flow in flows}, {host.ip for host in beds.TARGETS})
        for flow in flows:
            flow.from_client(b"again")

    def test_one_way(self):
        """S7.2: nobody has to answer (syslog)."""
        flow = Datagrams(self, beds.UDP_ONE).open()
        for _ in range(5):
            flow.from_client(b"<13>message")

    def test_without_a_checksum(self):
        """S7.5: none stays none, in both directions."""
        flow = Datagrams(self, beds.UDP).open(chksum=0)
        flow.from_client(b"still none", chksum=0)
        flow.from_target(b"none back", chksum=0)
        flow.from_client(b"with one")

    def test_a_computed_checksum_of_zero(self):
        """S7.5: it is sent as all ones (RFC 768), for else it would mean none."""
        flow = Datagrams(self, beds.UDP).open()
        for make, forwards, source, destination in (
            (flow.client_datagram, flow.forwards_from_client, flow.client, flow.target),
            (flow.target_datagram, flow.forwards_from_target, flow.node, flow.client),
        ):
            missing = checksum_at(translated(make(b"\0\0"), source, destination))
            sent = make(missing.to_bytes(2, "big"))
            self.assertEqual(checksum_at(translated(sent, source, destination)), 0xFFFF, "it is that case")
            self.assertNotIn(checksum_at(sent), (0, 0xFFFF))
            forwards(sent)

    def test_a_checksum_of_all_ones(self):
        """It comes in as all ones, and goes out as what it should be."""
        flow = Datagrams(self, beds.UDP).open()
        missing = checksum_at(flow.client_datagram(b"\0\0"))
        sent = flow.client_datagram(missing.to_bytes(2, "big"))
        self.assertEqual(checksum_at(sent), 0xFFFF, "it is that case")
        flow.forwards_from_client(sent)

    def test_a_wrong_checksum_stays_wrong(self):
        """S18.2."""
        flow = Datagrams(self, beds.UDP).open()
        sent = flow.client_datagram(b"payload")
        self.send(self.outside, flipped(sent, -2), flow.host.mac)
        self.expect(self.inside, flipped(translated(sent, flow.client, flow.target), -2), flow.target_mac)
        sent = flow.target_datagram(b"payload")
        self.send(self.inside, flipped(sent, -2), flow.target_mac)
        self.expect(self.outside, flipped(translated(sent, flow.node, flow.client), -2), flow.host.mac)
        self.count(forwarded_packets=2, target__packets_in=1, target__bytes_in=35)
        self.count(target__packets_out=1, target__bytes_out=35)

    def test_bytes_after_the_datagram(self):
        """A UDP length that is less than the packet holds is allowed, and nothing is changed."""
        flow = Datagrams(self, beds.UDP).open()
        flow.from_client(b"payload and more", len=8 + 7, chksum=0)

    # req: LSN-06
    def test_a_target_without_a_flow(self):
        """Dropped, and no ICMP."""
        target = beds.TARGETS[0]
        for destination in (beds.CLIENT.ip, beds.NODE):
            self.send(self.inside, ip(target.ip, destination) / UDP(sport=9000, dport=4000) / Raw(b"?"), target.mac)
            self.count(drop="no_flow")

    def test_no_target(self):
        """S2.7, S7.6: the group is empty: dropped, counted, and no ICMP."""
        self.send(self.outside, Datagrams(self, beds.UDP_EMPTY).client_datagram(b"?"), beds.CLIENT.mac)
        self.count(drop="no_target", listener__no_target=1)

    def test_the_last_hop(self):
        """A TTL of 1 does not allow another one; there is no ICMP either (S11.7)."""
        flow = Datagrams(self, beds.UDP).open()
        for link, sent, mac in (
            (self.outside, flow.client_datagram(b"x"), flow.host.mac),
            (self.inside, flow.target_datagram(b"x"), flow.target_mac),
        ):
            sent[IP].ttl = 1
            self.send(link, sent, mac)
            self.count(drop="ttl_expired")

    # req: CIP-10
    def test_a_taken_socket_at_the_only_target(self):
        """S12.1: as for TCP."""
        first = Datagrams(self, beds.UDP_ONE).open()
        second = Datagrams(self, beds.UDP_ONE_TOO, client=first.client)
        self.send(self.outside, second.client_datagram(b"?"), beds.CLIENT.mac)
        self.count(drop="tuple_conflict", listener__conflicts=1)
        first.from_client(b"unharmed")
        first.from_target(b"indeed")

    # req: CIP-11
    def test_a_target_that_is_its_own_client(self):
        """S12.3: it could never be answered."""
        host = beds.TARGETS[0]
        flow = Datagrams(self, beds.UDP_ONE, host=host, link=self.inside)
        self.send(self.inside, flow.client_datagram(b"?"), host.mac)
        self.count(drop="hairpin", listener__conflicts=1)
