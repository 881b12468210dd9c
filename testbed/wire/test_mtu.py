"""Packets too big for the port they are to leave by: semantics S10.7. The targets' side has the smaller MTU."""

from scapy.layers.inet import ICMP, IP

import bed as beds
from case import needs_fragments, translated
from connection import Connection
from datagrams import Datagrams
from test_fragments import Fragmented, fragments, put_together


class TooBig(Fragmented):
    """From clients to targets."""

    def packet(self, size, flags, connection):
        """A segment that is a packet of so many bytes."""
        segment = connection.client_segment("PA", b"x" * (size - 40))
        segment[IP].flags, segment[IP].id = flags, 0x2468
        return IP(bytes(segment))

    def test_a_packet_that_just_fits(self):
        connection = Connection(self, beds.FULL_NAT).open()
        for flags in ("DF", 0):
            connection.forwards_from_client(self.packet(beds.INSIDE_MTU, flags, connection))

    # req: GEN-02
    def test_do_not_fragment(self):
        """The sender is told the MTU, by the node, and finds its own packet quoted."""
        for connection in (Connection(self, beds.FULL_NAT).open(), Connection(self, beds.KEEP).open()):
            for size in (beds.INSIDE_MTU + 1, beds.OUTSIDE_MTU):
                sent = self.packet(size, "DF", connection)
                self.send(self.outside, sent, connection.host.mac)
                error = self.receive(self.outside, "the ICMP error")
                self.assertEqual((error.src, error.dst), (self.bed.outside_mac, connection.host.mac))
                self.assertEqual((error[IP].src, error[IP].dst), (beds.NODE, connection.client[0]))
                self.assertEqual(bytes(IP(bytes(error[IP]))), bytes(error[IP]))
                self.assertEqual((error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu), (3, 4, beds.INSIDE_MTU))
                quoted = bytes(error[ICMP].payload)
                self.assertGreaterEqual(len(quoted), 28)
                self.assertEqual(quoted, bytes(sent)[: len(quoted)])
                self.assertLessEqual(len(error[IP]), 576)
                good = error[IP].copy()
                del good.chksum
                del good[ICMP].chksum
                self.assertEqual(bytes(good), bytes(error[IP]), "checksums")
                self.count(answered_packets=1, icmp_errors_sent=1)
            self.assertEqual(connection.state(), "established")

    def test_fragments_are_made(self):
        """Without DF: put together, they are the packet."""
        for listener in (beds.FULL_NAT, beds.KEEP):
            connection = Connection(self, listener).open()
            for size in (beds.INSIDE_MTU + 1, beds.OUTSIDE_MTU):
                sent = self.packet(size, 0, connection)
                self.send(self.outside, sent, connection.host.mac)
                pieces = self.receive_pieces(self.inside, 2, connection.target_mac)
                for piece in pieces:
                    self.assertLessEqual(len(piece), beds.INSIDE_MTU)
                expected = translated(sent, connection.seen, connection.target)
                self.assert_whole(pieces, expected, keeps_id=listener == beds.KEEP)
                self.count(forwarded_packets=1, originated_packets=1, fragments_made=2)
                self.count(target__packets_in=1, target__bytes_in=size)

    def test_a_datagram(self):
        """UDP, begun by one that is too big."""
        flow = Datagrams(self, beds.UDP_ONE)
        flow.target, flow.target_mac = (beds.TARGETS[0].ip, 9001), beds.TARGETS[0].mac
        sent = flow.client_datagram(b"y" * (beds.OUTSIDE_MTU - 28))
        sent[IP].id = 99
        self.send(self.outside, sent, flow.host.mac)
        pieces = self.receive_pieces(self.inside, 2, flow.target_mac)
        self.assert_whole(pieces, translated(sent, flow.client, flow.target))
        self.count(flows_created=1, listener__new_flows=1, target__new_flows=1)
        self.count(forwarded_packets=1, originated_packets=1, fragments_made=2)
        self.count(target__packets_in=1, target__bytes_in=beds.OUTSIDE_MTU)

    @needs_fragments
    def test_a_fragment_that_is_too_big(self):
        """It is cut again, and all pieces fit together."""
        flow = Datagrams(self, beds.UDP).open()
        sent = flow.client_datagram(b"z" * 2000)
        sent[IP].id = 77
        pieces = fragments(sent, 1480)
        self.send_pieces(self.outside, pieces, flow.host.mac)
        got = self.receive_pieces(self.inside, 3, flow.target_mac)
        self.assert_same(put_together(got), IP(bytes(translated(sent, flow.client, flow.target))), "the datagram")
        self.count(forwarded_packets=2, originated_packets=1, fragments_made=2)
        self.count(target__packets_in=2, target__bytes_in=sum(len(piece) for piece in pieces))
