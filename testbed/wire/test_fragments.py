"""Fragments: semantics §10. What comes out is, put together again, exactly what a whole packet would have become."""

import time

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

import bed as beds
from case import WireCase, needs_fragments, translated
from connection import Connection
from datagrams import Datagrams

# Seconds for which fragments are held until the first one comes, and whole datagrams are remembered (S10.3, S10.4).
HELD_S = 2
DATAGRAMS_MAX, FRAGMENTS_MAX = 1024, 16


def fragments(packet, size, identification=None):
    """A packet cut into fragments with at most `size` bytes, a multiple of 8, after the IP header."""
    header, body = packet[IP].copy(), bytes(packet[IP].payload)
    header.remove_payload()
    del header.len, header.chksum
    header.proto = packet[IP].proto if packet[IP].proto else 0
    if identification is not None:
        header.id = identification
    pieces = []
    for offset in range(0, len(body), size):
        piece = header.copy()
        piece.frag = offset // 8
        piece.flags = "MF" if offset + size < len(body) else 0
        pieces.append(IP(bytes(piece / Raw(body[offset : offset + size]))))
    return pieces


def put_together(pieces):
    """The packet whose fragments these are, in any order. Its identification is theirs."""
    pieces = sorted((IP(bytes(piece)) for piece in pieces), key=lambda piece: piece.frag)
    body, header = b"", pieces[0].copy()
    for piece in pieces:
        if piece.frag * 8 != len(body) or bool(piece.flags & 1) != (piece is not pieces[-1]):
            raise AssertionError(f"fragments do not fit: {[(it.frag * 8, len(it.payload), str(it.flags)) for it in pieces]}")
        if (piece.id, piece.ttl, piece.tos, piece.src, piece.dst) != (header.id, header.ttl, header.tos, header.src, header.dst):
            raise AssertionError("fragments of different packets")
        body += bytes(piece.payload)
    header.remove_payload()
    header.flags, header.frag = 0, 0
    del header.len, header.chksum
    return IP(bytes(header / Raw(body)))


class Fragmented(WireCase):
    """What the tests of fragments share."""

    def receive_pieces(self, link, count, mac):
        """The next fragments on a link, all from the appliance to this MAC."""
        frames = [self.receive(link, f"a fragment of {count}") for _ in range(count)]
        for frame in frames:
            self.assertEqual((frame.src, frame.dst), (self.mac(link), mac))
            self.assertEqual(bytes(IP(bytes(frame[IP]))), bytes(frame[IP]))
        return [frame[IP] for frame in frames]

    def assert_whole(self, pieces, expected, keeps_id=True):
        """Put together, the pieces are what the whole packet would have become. Returns the identification."""
        got = put_together(pieces)
        identification = got.id
        if keeps_id:
            self.assertEqual(identification, expected.id)
        else:
            expected = expected.copy()
            expected.id = identification
            del expected.chksum
        self.assert_same(got, IP(bytes(expected)), "the packet put together")
        return identification

    def send_pieces(self, link, pieces, mac):
        """Sends fragments in this order."""
        for piece in pieces:
            self.send(link, piece, mac)

    def count_through(self, way, pieces):
        """Each of them passes."""
        total = sum(len(piece) for piece in pieces)
        self.count(forwarded_packets=len(pieces), **{f"target__packets_{way}": len(pieces), f"target__bytes_{way}": total})


@needs_fragments
class UdpFragments(Fragmented):
    """UDP keeps the client's address, and so the identification (S10.8)."""

    def through_in(self, flow, pieces, expected):
        """They come out at the target."""
        self.send_pieces(self.outside, pieces, flow.host.mac)
        self.assert_whole(self.receive_pieces(self.inside, len(pieces), flow.target_mac), expected)
        self.count_through("in", pieces)

    def whole(self, flow, size=3000, identification=0x1234):
        """A datagram of the client, and what becomes of it."""
        sent = flow.client_datagram(bytes(number % 251 for number in range(size)))
        sent[IP].id = identification
        return IP(bytes(sent)), translated(sent, flow.client, flow.target)

    def test_in_order(self):
        """Both ways, and the flow was begun by a whole datagram."""
        flow = Datagrams(self, beds.UDP).open()
        sent, expected = self.whole(flow)
        self.through_in(flow, fragments(sent, 1024), expected)
        back = flow.target_datagram(b"b" * 2000)
        back[IP].id = 0xFFFF
        pieces = fragments(back, 800)
        self.send_pieces(self.inside, pieces, flow.target_mac)
        got = self.receive_pieces(self.outside, len(pieces), flow.host.mac)
        self.assert_whole(got, translated(back, flow.node, flow.client))
        self.count_through("out", pieces)

    def test_a_flow_begun_by_fragments(self):
        """The first fragment has the ports: it begins the flow."""
        flow = Datagrams(self, beds.UDP_ONE)
        flow.target, flow.target_mac = (beds.TARGETS[0].ip, 9001), beds.TARGETS[0].mac
        sent, expected = self.whole(flow)
        self.through_in(flow, fragments(sent, 1200), expected)
        self.count(flows_created=1, listener__new_flows=1, target__new_flows=1)
        flow.from_target(b"all of it arrived")

    def test_in_any_order(self):
        """S10.3: what comes before the first one is held until that comes."""
        flow = Datagrams(self, beds.UDP).open()
        for number, order in enumerate(((2, 1, 0), (1, 0, 2), (2, 0, 1), (1, 2, 0))):
            sent, expected = self.whole(flow, identification=0x2000 + number)
            pieces = fragments(sent, 1024)
            self.through_in(flow, [pieces[place] for place in order], expected)

    def test_two_datagrams_mixed(self):
        """S10.2: the identification tells them apart."""
        flow = Datagrams(self, beds.UDP).open()
        one, expected_one = self.whole(flow, 2400, identification=1)
        two, expected_two = self.whole(flow, 2500, identification=2)
        mixed = [piece for pair in zip(fragments(one, 1000), fragments(two, 1000)) for piece in pair]
        self.send_pieces(self.outside, mixed, flow.host.mac)
        got = self.receive_pieces(self.inside, len(mixed), flow.target_mac)
        self.assert_whole([piece for piece in got if piece.id == 1], expected_one)
        self.assert_whole([piece for piece in got if piece.id == 2], expected_two)
        self.count_through("in", mixed)

    def test_many_small_ones(self):
        """As many as one datagram may have, all before the first."""
        flow = Datagrams(self, beds.UDP).open()
        sent, expected = self.whole(flow, 16 * FRAGMENTS_MAX - 8)
        pieces = fragments(sent, 16)
        self.through_in(flow, pieces[::-1], expected)

    def test_a_tiny_first_one(self):
        """S10.1: it must hold the whole UDP header; the smallest one that does is good."""
        flow = Datagrams(self, beds.UDP).open()
        sent, expected = self.whole(flow, 100)
        self.through_in(flow, fragments(sent, 8), expected)
        header = IP(src=flow.client[0], dst=beds.NODE, id=7, flags="MF", proto=17)
        self.send(self.outside, header / Raw(bytes(sent[UDP])[:4]), flow.host.mac)
        self.count(drop="fragment_bad")

    def test_without_a_listener(self):
        """Unintended traffic is dropped in silence, also in pieces; what follows is not held for ever."""
        sent = IP(src=beds.CLIENT.ip, dst=beds.NODE, id=9) / UDP(sport=self.port(), dport=4321) / Raw(b"x" * 1000)
        for piece in fragments(sent, 600):
            self.send(self.outside, piece, beds.CLIENT.mac)
        self.count(drop="no_listener", times=2)

    def test_icmp_in_pieces(self):
        """Never a flow's."""
        sent = IP(src=beds.CLIENT.ip, dst=beds.NODE, id=10) / ICMP(type=3, code=1) / Raw(b"x" * 1000)
        for piece in fragments(sent, 600):
            self.send(self.outside, piece, beds.CLIENT.mac)
        self.count(drop="icmp", times=2)

    def test_the_same_one_twice(self):
        """S10.4: a fragment that comes again as it was harms nothing."""
        flow = Datagrams(self, beds.UDP).open()
        sent, expected = self.whole(flow, identification=0x77)
        first, second, third = fragments(sent, 1024)
        self.send_pieces(self.outside, [first, second], flow.host.mac)
        got = self.receive_pieces(self.inside, 2, flow.target_mac)
        self.count_through("in", [first, second])
        self.pace()
        self.send(self.outside, second, flow.host.mac)
        self.pace()
        again = [Ether(frame)[IP] for frame in self.inside.waiting()]
        if again:
            self.assert_same(again[0], got[1], "the fragment sent twice")
            self.count_through("in", again)
        else:
            self.count(drop="fragment_overlap")
        self.send(self.outside, third, flow.host.mac)
        got += self.receive_pieces(self.inside, 1, flow.target_mac)
        self.count_through("in", [third])
        self.assert_whole(got, expected)

    def test_overlapping_ones(self):
        """S10.4 (RFC 5722): the rest of the datagram is dropped; the next one is not."""
        flow = Datagrams(self, beds.UDP).open()
        sent, expected = self.whole(flow, identification=0x99)
        first, second, third = fragments(sent, 1024)
        overlapping = second.copy()
        overlapping.frag -= 1
        del overlapping.chksum
        self.send(self.outside, first, flow.host.mac)
        self.receive_pieces(self.inside, 1, flow.target_mac)
        self.count_through("in", [first])
        for piece in (overlapping, second, third, first):
            self.send(self.outside, piece, flow.host.mac)
            self.count(drop="fragment_overlap")
        self.settle()
        sent, expected = self.whole(flow, identification=0x9A)
        self.through_in(flow, fragments(sent, 1024), expected)

    def test_overlapping_ones_before_the_first(self):
        """None of it passes."""
        flow = Datagrams(self, beds.UDP).open()
        sent, _ = self.whole(flow, identification=0xA9)
        first, second, third = fragments(sent, 1024)
        overlapping = third.copy()
        overlapping.frag -= 1
        del overlapping.chksum
        for piece in (third, overlapping, second, first):
            self.send(self.outside, piece, flow.host.mac)
            self.count(drop="fragment_overlap")

    def test_what_makes_no_sense(self):
        """A length that is not of 8s before the end; an end beyond the largest packet; a fragment without data."""
        flow = Datagrams(self, beds.UDP).open()
        header = IP(src=flow.client[0], dst=beds.NODE, proto=17)
        for packet in (
            header.copy() / Raw(b"x" * 13),
            header.copy() / Raw(b"x" * 1000),
            header.copy(),
        ):
            packet[IP].id = self.port() % 65536
            packet[IP].flags, packet[IP].frag = "MF", 3
            if len(packet) > 1000:
                packet[IP].frag = 0x1FFF
            self.send(self.outside, packet, flow.host.mac)
            self.count(drop="fragment_bad")

    def test_the_first_one_never_comes(self):
        """S10.3: after 2 s what was held is dropped."""
        flow = Datagrams(self, beds.UDP).open()
        sent, expected = self.whole(flow, identification=0xBEEF)
        first, second, third = fragments(sent, 1024)
        self.send_pieces(self.outside, [third, second], flow.host.mac)
        self.pace()
        self.assertEqual(self.moved()["held_packets"], 2)
        time.sleep(HELD_S + 1.5)
        self.count(drop="fragment_timeout", times=2)
        # The first one begins it all anew.
        self.send(self.outside, first, flow.host.mac)
        self.receive_pieces(self.inside, 1, flow.target_mac)
        self.count_through("in", [first])

    def test_a_flood_of_later_ones(self):
        """S10.3: no more is held than 16 of a datagram and 1024 datagrams; everything is given back."""
        flow = Datagrams(self, beds.UDP).open()
        sent, _ = self.whole(flow, 8 * 40, identification=0xCC)
        for piece in fragments(sent, 8)[1:30]:
            self.send(self.outside, piece, flow.host.mac)
        self.pace()
        held = self.moved()["held_packets"]
        self.assertLessEqual(held, FRAGMENTS_MAX)
        later = fragments(self.whole(flow, 100)[0], 64)[1]
        for first in range(0, 1400, 100):
            frames = []
            for identification in range(first, first + 100):
                piece = later.copy()
                piece.id = 0x4000 + identification
                del piece.chksum
                frames.append(self.frame(self.outside, piece, flow.host.mac))
            self.outside.flood(frames)
            self.pace()
        held = self.moved()["held_packets"]
        self.assertLessEqual(held, DATAGRAMS_MAX * FRAGMENTS_MAX)
        self.assertGreater(held, 500)
        time.sleep(HELD_S + 1.5)
        self.pace()
        dropped = {name: value for name, value in self.moved().items() if name.startswith("drop.fragment")}
        self.assertEqual(sum(dropped.values()), 29 + 1400, dropped)
        self.assertGreater(dropped["drop.fragments_full"], 0)
        for name, value in dropped.items():
            self.count(drop=name[5:], times=value)
        # There is room again.
        sent, expected = self.whole(flow, identification=0xDD)
        self.through_in(flow, fragments(sent, 1024)[::-1], expected)


@needs_fragments
class TcpFragments(Fragmented):
    """Segments in pieces, in both addressing modes."""

    def data(self, connection, identification, size=1300):
        """A segment of the client, and what becomes of it."""
        sent = connection.client_segment("PA", bytes(number % 249 for number in range(size)))
        sent[IP].id = identification
        return IP(bytes(sent)), translated(sent, connection.seen, connection.target)

    def test_both_modes_and_ways(self):
        for listener in (beds.FULL_NAT, beds.KEEP):
            connection = Connection(self, listener).open()
            sent, expected = self.data(connection, 0x5555)
            pieces = fragments(sent, 512)
            self.send_pieces(self.outside, pieces[::-1], connection.host.mac)
            got = self.receive_pieces(self.inside, len(pieces), connection.target_mac)
            self.assert_whole(got, expected, keeps_id=listener == beds.KEEP)
            self.count_through("in", pieces)
            back = connection.target_segment("PA", b"answer " * 100)
            back[IP].id = 0x6666
            pieces = fragments(back, 256)
            self.send_pieces(self.inside, pieces, connection.target_mac)
            got = self.receive_pieces(self.outside, len(pieces), connection.host.mac)
            self.assert_whole(got, translated(back, connection.node, connection.client), keeps_id=listener == beds.KEEP)
            self.count_through("out", pieces)

    def test_identifications_of_two_clients(self):
        """S10.8: the target sees one source address; pieces of two clients' packets must not be put together."""
        one = Connection(self, beds.ONE_FULL_NAT).open()
        two = Connection(self, beds.ONE_FULL_NAT).open()
        seen = set()
        for connection in (one, two, one):
            sent, expected = self.data(connection, 0x7777)
            pieces = fragments(sent, 512)
            self.send_pieces(self.outside, pieces, connection.host.mac)
            got = self.receive_pieces(self.inside, len(pieces), connection.target_mac)
            seen.add(self.assert_whole(got, expected, keeps_id=False))
            self.count_through("in", pieces)
        self.assertGreaterEqual(len(seen), 2)

    def test_tiny_ones(self):
        """S10.1: the first one must hold the whole TCP header (RFC 1858), and no other may reach into it (RFC 3128)."""
        connection = Connection(self, beds.FULL_NAT).open()
        sent, _ = self.data(connection, 0x8888, 100)
        first = fragments(sent, 16)[0]
        self.send(self.outside, first, connection.host.mac)
        self.count(drop="fragment_tiny")
        for offset in (1, 2):
            piece = IP(src=connection.client[0], dst=beds.NODE, id=0x8889, proto=6, frag=offset, flags="MF") / Raw(b"12345678")
            self.send(self.outside, piece, connection.host.mac)
            self.count(drop="fragment_tiny")

    def test_a_stray_segment_in_pieces(self):
        """It is answered by one reset: for the first piece."""
        sent = IP(src=beds.CLIENT.ip, dst=beds.NODE, id=12) / TCP(sport=self.port(), dport=beds.KEEP, flags="A", ack=5)
        pieces = fragments(sent / Raw(b"x" * 100), 64)
        self.send(self.outside, pieces[0], beds.CLIENT.mac)
        reset = self.receive(self.outside)
        self.assertEqual((str(reset[TCP].flags), reset[TCP].seq), ("R", 5))
        self.count(answered_packets=1, resets_sent=1, listener__resets=1)


class Whole(WireCase):
    """Packets that are no fragments."""

    def test_an_unfragmented_packet_keeps_its_identification(self):
        """S10.8 (RFC 6864), with and without DF."""
        connection = Connection(self, beds.FULL_NAT).open()
        for flags in (0, "DF"):
            segment = connection.client_segment("A")
            segment[IP].id, segment[IP].flags = 0x4321, flags
            connection.forwards_from_client(segment)
