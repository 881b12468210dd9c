"""ICMP errors: semantics §11. They reach the sender of the packet that they quote, and quote what that one sent."""

import struct

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

import bed as beds
from case import WireCase, translated
from connection import Connection
from datagrams import Datagrams
from hosts import Host, checksum

ROUTER_OUTSIDE = Host("02:c1:00:00:00:77", "10.1.0.77")
ROUTER_INSIDE = Host("02:7a:00:00:00:77", "10.2.0.77")
CODES = (0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13)


def icmp(code, quote, second_word=0, kind=3, damage=0):
    """An ICMP error that quotes these bytes."""
    body = struct.pack("!BBHI", kind, code, 0, second_word) + quote
    total = checksum(body) ^ damage
    return Raw(body[:2] + struct.pack("!H", total) + body[4:])


def one_hop(packet):
    """A packet after one more hop."""
    out = packet.copy()
    out[IP].ttl -= 1
    del out[IP].chksum
    return out


class Errors(WireCase):
    """What the tests of ICMP share: one end has sent a packet, and somebody on its way returns an error."""

    def toward_client(self, flow, sent, error, source, expected):
        """The target's side returns an error, which the client gets from the node."""
        outer = IP(src=source.ip, dst=flow.seen[0] if hasattr(flow, "seen") else flow.client[0], proto=1, ttl=60, id=5, tos=0xC0)
        self.send(self.inside, outer / error, source.mac)
        out = IP(src=beds.NODE, dst=flow.client[0], proto=1, ttl=59, id=5, tos=0xC0)
        self.expect(self.outside, out / expected, flow.host.mac, "the error")
        self._count(outer / error)

    def toward_target(self, flow, sent, error, source, expected):
        """The client's side returns an error, which the target gets from the router that made it."""
        outer = IP(src=source.ip, dst=beds.NODE, proto=1, ttl=60, id=6)
        self.send(self.outside, outer / error, source.mac)
        out = IP(src=source.ip, dst=flow.target[0], proto=1, ttl=59, id=6)
        self.expect(self.inside, out / expected, flow.target_mac, "the error")
        self._count(outer / error)

    def _count(self, packet):
        self.count(forwarded_packets=1, icmp_errors_forwarded=1)

    @staticmethod
    def quotes(flow, sent, from_client, length=None, seen=None):
        """What a router quotes of a packet that has come through the appliance, and what its sender is to find quoted: as it was sent, but
        for the hops."""
        source, destination = (seen or flow.seen, flow.target) if from_client else (flow.node, flow.client)
        quoted = bytes(one_hop(translated(sent, source, destination)))
        original = bytes(one_hop(one_hop(sent)))
        return quoted[:length], original[:length]


class TcpErrors(Errors):
    """Errors about segments, in both addressing modes."""

    # req: LSN-08
    def test_every_code_to_the_client(self):
        """S11.3: from the target itself, or a router before it: the client sees the node."""
        for listener in (beds.FULL_NAT, beds.KEEP):
            connection = Connection(self, listener).open()
            sent = connection.from_client("PA", b"data that nobody gets")
            connection.next_client += 21
            quote, original = self.quotes(connection, sent, True)
            for code in CODES:
                for source in (ROUTER_INSIDE, Host(connection.target_mac, connection.target[0])):
                    self.toward_client(connection, sent, icmp(code, quote), source, icmp(code, original))
            self.assertEqual(connection.state(), "established", "S11.4: no error ends a flow")

    # req: LSN-08
    def test_every_code_to_the_target(self):
        for listener in (beds.FULL_NAT, beds.KEEP):
            connection = Connection(self, listener).open()
            sent = connection.from_target("PA", b"data that nobody gets")
            connection.next_target += 21
            quote, original = self.quotes(connection, sent, False)
            for code in CODES:
                self.toward_target(connection, sent, icmp(code, quote), ROUTER_OUTSIDE, icmp(code, original))
            self.assertEqual(connection.state(), "established")

    def test_a_quote_of_eight_bytes(self):
        """RFC 792 asks for no more after the IP header."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"data")
        quote, original = self.quotes(connection, sent, True, length=28)
        self.toward_client(connection, sent, icmp(1, quote), ROUTER_INSIDE, icmp(1, original))
        sent = connection.from_target("PA", b"data")
        quote, original = self.quotes(connection, sent, False, length=28)
        self.toward_target(connection, sent, icmp(1, quote), ROUTER_OUTSIDE, icmp(1, original))

    def test_the_syn_is_quoted(self):
        """Before the target has answered."""
        connection = Connection(self, beds.FULL_NAT)
        sent = connection.syn()
        quote, original = self.quotes(connection, sent, True)
        self.toward_client(connection, sent, icmp(13, quote), ROUTER_INSIDE, icmp(13, original))
        self.assertEqual(connection.state(), "syn-sent")

    def test_fragmentation_needed(self):
        """S11.5: the MTU passes; one that is too small becomes 576, and none what RFC 1191 §7 has below the packet's length."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"x" * 1300)
        quote, original = self.quotes(connection, sent, True, length=28 + 20)
        for told, passed in ((1280, 1280), (577, 577), (576, 576), (68, 576), (1, 576), (0, 1006)):
            self.toward_client(connection, sent, icmp(4, quote, told), ROUTER_INSIDE, icmp(4, original, passed))
        sent = connection.from_target("PA", b"x" * 1300)
        quote, original = self.quotes(connection, sent, False, length=28 + 20)
        for told, passed in ((1300, 1300), (300, 576)):
            self.toward_target(connection, sent, icmp(4, quote, told), ROUTER_OUTSIDE, icmp(4, original, passed))

    def test_extensions_pass(self):
        """RFC 4884: what follows the quote, padded to 128 bytes."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"y" * 200)
        quote, original = self.quotes(connection, sent, True, length=128)
        extension = struct.pack("!HHHBB", 0x2000, 0, 8, 1, 1) + b"\xde\xad\xbe\xef"
        length_field = (128 // 4) << 16
        self.toward_client(
            connection, sent, icmp(1, quote + extension, length_field), ROUTER_INSIDE, icmp(1, original + extension, length_field)
        )

    def test_a_sequence_number_out_of_window(self):
        """S11.2 (RFC 5927): somebody guesses. Dropped in silence."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"data")
        for distance in (-1000, 0x10000000, 0x7FFFFFFF):
            forged = sent.copy()
            forged[TCP].seq = (sent[TCP].seq + distance) % 2**32
            quote, _ = self.quotes(connection, forged, True)
            self.send(self.inside, IP(src=ROUTER_INSIDE.ip, dst=beds.NODE, proto=1) / icmp(1, quote), ROUTER_INSIDE.mac)
            self.count(drop="icmp_no_flow")

    def test_no_match(self):
        """S11.2: another port, another address, another protocol, the wrong direction: silence."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"data")
        whole = IP(bytes(one_hop(translated(sent, connection.seen, connection.target))))
        quotes = []
        for layer, field, value in ((TCP, "sport", 9), (TCP, "dport", 9), (IP, "dst", "10.2.0.99"), (IP, "src", "10.1.0.11"), (IP, "proto", 17)):
            other = whole.copy()
            setattr(other[layer], field, value)
            del other[IP].chksum
            quotes.append(bytes(other))
        quotes.append(bytes(one_hop(sent)))
        for quote in quotes:
            self.send(self.inside, IP(src=ROUTER_INSIDE.ip, dst=beds.NODE, proto=1) / icmp(1, quote), ROUTER_INSIDE.mac)
            self.count(drop="icmp_no_flow")

    def test_wrong_checksums_and_quotes(self):
        """S11.2 (RFC 5508 REQ-3)."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"data")
        quote, _ = self.quotes(connection, sent, True)
        outer = IP(src=ROUTER_INSIDE.ip, dst=beds.NODE, proto=1)
        damaged = bytes([quote[0] ^ 0x10]) + quote[1:]
        for error in (
            icmp(1, quote, damage=0x0100),
            icmp(1, damaged),
            icmp(1, bytes([0x44]) + quote[1:]),
            icmp(1, quote[:27]),
            icmp(1, quote[:19]),
            icmp(1, b""),
        ):
            self.send(self.inside, outer / error, ROUTER_INSIDE.mac)
            self.count(drop="icmp_bad")

    # req: LSN-06
    def test_other_types(self):
        """S11.1: only type 3, whatever they quote."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"data")
        quote, _ = self.quotes(connection, sent, True)
        for kind in (4, 5, 11, 12):
            outer = IP(src=ROUTER_INSIDE.ip, dst=beds.NODE, proto=1)
            self.send(self.inside, outer / icmp(0, quote, kind=kind), ROUTER_INSIDE.mac)
            self.count(drop="icmp")

    def test_no_more_than_the_limit(self):
        """S11.6: 1000 a second."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent = connection.from_client("PA", b"data")
        quote, _ = self.quotes(connection, sent, True)
        outer = IP(src=ROUTER_INSIDE.ip, dst=beds.NODE, proto=1)
        moved = self.flood(self.inside, self.frame(self.inside, outer / icmp(1, quote), ROUTER_INSIDE.mac), "drop.icmp_rate")
        passed = moved["icmp_errors_forwarded"]
        self.count(forwarded_packets=passed, icmp_errors_forwarded=passed)
        self.count(drop="icmp_rate", times=moved["drop.icmp_rate"])
        for _ in range(passed):
            self.receive(self.outside)


class UdpErrors(Errors):
    """Errors about datagrams: the port of the target is closed."""

    # req: LSN-08
    def test_both_ways(self):
        flow = Datagrams(self, beds.UDP).open()
        for chksum in (None, 0):
            sent = flow.client_datagram(b"request", chksum=chksum) if chksum == 0 else flow.client_datagram(b"request")
            flow.forwards_from_client(sent)
            quote, original = self.quotes(flow, sent, True, seen=flow.client)
            self.toward_client(flow, sent, icmp(3, quote), Host(flow.target_mac, flow.target[0]), icmp(3, original))
            sent = flow.target_datagram(b"answer")
            flow.forwards_from_target(sent)
            quote, original = self.quotes(flow, sent, False)
            self.toward_target(flow, sent, icmp(3, quote), flow.host, icmp(3, original))

    def test_no_match(self):
        """A datagram that was never sent."""
        quote = bytes(IP(src=beds.CLIENT.ip, dst=beds.TARGETS[0].ip) / UDP(sport=self.port(), dport=9000) / Raw(b"?"))
        self.send(self.inside, IP(src=beds.TARGETS[0].ip, dst=beds.CLIENT.ip, proto=1) / icmp(3, quote), beds.TARGETS[0].mac)
        self.count(drop="icmp_no_flow")


class Echo(WireCase):
    """Pings."""

    # req: LSN-06
    def test_nobody_answers_pings(self):
        """S11.1: also on the targets' side."""
        packet = IP(src=beds.TARGETS[0].ip, dst=beds.NODE) / ICMP(type=8) / Raw(b"ping")
        self.send(self.inside, packet, beds.TARGETS[0].mac)
        self.count(drop="icmp")
