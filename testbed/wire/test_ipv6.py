"""IPv6, and translation between IPv6 and IPv4: semantics §17. A dualstack load balancer of its own: TCP only."""

import struct

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.l2 import Ether
from scapy.packet import Raw

import bed as beds
from case import WireCase
from connection import Connection
from hosts import checksum
from proxy import LENGTH_V6, ProxiedConnection
from test_tcp import Life, Opening

SIX_FULL_NAT, SIX_KEEP, SIX_ONE_KEEP, TO_FOUR, SIX_PROXY, TO_FOUR_PROXY = range(80, 86)


class Dualstack(WireCase):
    """The load balancer `dual` at 10.1.0.20 and fd00:1::20."""

    @classmethod
    def setUpClass(cls):
        nodes = [{"zone": "zone-a", "address": beds.DUAL, "ipv6Address": beds.DUAL_V6}]
        cls.bed.api.call("POST", "/load-balancers", {"name": "dual", "ipAddressType": "dualstack", "nodes": nodes})
        six, four = [host.ipv6 for host in beds.TARGETS], [host.ip for host in beds.TARGETS]
        for name, port, targets, listener, keep in (
            ("six-full-nat", 8100, six, SIX_FULL_NAT, "false"),
            ("six-keep", 8101, six, SIX_KEEP, "true"),
            ("six-one-keep", 8102, six[:1], SIX_ONE_KEEP, "true"),
            ("six-to-four", 8103, four, TO_FOUR, "true"),
        ):
            cls.bed.group(name, "TCP", port, targets, [listener], {"preserve_client_ip.enabled": keep}, "dual")
        for name in ("six-full-nat", "six-keep", "six-one-keep", "six-to-four"):
            cls.bed.wait_targets(name, "healthy")

    def six(self, listener, **options):
        """A connection of a client with IPv6."""
        client = options.pop("client", None) or (beds.CLIENT.ipv6, self.port())
        return Connection(self, listener, client=client, node=beds.DUAL_V6, **options)

    def four(self, listener, **options):
        """A connection of a client with IPv4."""
        return Translated(self, listener, node=beds.DUAL, **options)


class Translated(Connection):
    """A connection between the two kinds: the MSS of both SYNs is what fits both ways (S17.2)."""

    def _mss(self):
        six_client = ":" in self.client[0]
        return min(beds.OUTSIDE_MTU - (60 if six_client else 40), beds.INSIDE_MTU - (40 if six_client else 60))

    def _clamped(self, packet):
        tcp = packet[TCP]
        if "S" in tcp.flags:
            tcp.options = [(name, min(value, self._mss()) if name == "MSS" else value) for name, value in tcp.options]
            tcp.chksum = None
        return packet

    def _inwards(self, sent):
        return self._clamped(super()._inwards(sent))

    def _outwards(self, sent):
        return self._clamped(super()._outwards(sent))


class OpeningFullNat(Opening, Dualstack):
    """IPv6 both ways; targets see the node."""

    def connection(self, **options):
        return self.six(SIX_FULL_NAT, **options)


class OpeningKeep(Opening, Dualstack):
    """IPv6 both ways; targets see the client."""

    def connection(self, **options):
        return self.six(SIX_KEEP, **options)


class LifeFullNat(Life, Dualstack):
    """IPv6 both ways; targets see the node."""

    def connection(self, **options):
        return self.six(SIX_FULL_NAT, **options)


class LifeKeep(Life, Dualstack):
    """IPv6 both ways; targets see the client."""

    def connection(self, **options):
        return self.six(SIX_KEEP, **options)


# req: CIP-07
class SixToFour(Life, Dualstack):
    """Clients with IPv6, targets with IPv4, which see the node whatever the group says."""

    def connection(self, **options):
        client = options.pop("client", None) or (beds.CLIENT.ipv6, self.port())
        return Translated(self, TO_FOUR, client=client, node=beds.DUAL_V6, **options)

    # req: CIP-07
    def test_the_handshake(self):
        """S17.2: the MSS of both SYNs is clamped; one that is small enough stays."""
        connection = self.connection()
        connection.open()
        self.assertTrue(connection.is_full_nat())
        self.assertEqual(connection.seen[0], beds.DUAL)
        connection = self.connection()
        connection.syn(options=[("MSS", 536), ("SAckOK", b"")])
        connection.from_target("SA", seq=connection.isn_target, options=[("MSS", 1460)])
        connection.from_client("A")
        connection.client_says(b"data")

    def test_ip_fields(self):
        """S17.1: hop limit, DSCP and ECN pass; the flow label goes; the packet must not be fragmented."""
        connection = self.connection().open()
        segment = connection.client_segment("A")
        segment[IPv6].tc, segment[IPv6].hlim, segment[IPv6].fl = 0xBB, 7, 0x12345
        connection.forwards_from_client(segment)
        segment = connection.target_segment("A")
        segment[IP].tos, segment[IP].ttl, segment[IP].id, segment[IP].flags = 0x2A, 200, 0x4242, 0
        connection.forwards_from_target(segment)


class FourToSix(Life, Dualstack):
    """Clients with IPv4, targets with IPv6."""

    def connection(self, **options):
        return self.four(SIX_FULL_NAT, **options)


class Headers(Dualstack):
    """What only IPv6 has."""

    def test_ip_fields_pass(self):
        """S18.5: traffic class and flow label; the hop limit is one less."""
        for listener in (SIX_FULL_NAT, SIX_KEEP):
            connection = self.six(listener).open()
            for fields in ({"tc": 0xBB, "fl": 0xABCDE, "hlim": 255}, {"tc": 1, "fl": 0, "hlim": 2}):
                for segment, forwards in (
                    (connection.client_segment("A"), connection.forwards_from_client),
                    (connection.target_segment("A"), connection.forwards_from_target),
                ):
                    for name, value in fields.items():
                        setattr(segment[IPv6], name, value)
                    forwards(segment)

    def test_extension_headers_pass(self):
        """S10.9: before the segment, as they are."""
        connection = self.six(SIX_KEEP).open()
        segment = connection.client_segment("PA", b"behind them")
        base, tcp = IPv6(src=connection.client[0], dst=connection.node[0]), segment[TCP]
        for headers in (IPv6ExtHdrDestOpt(), IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(), IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()):
            connection.forwards_from_client(IPv6(bytes(base / headers / tcp)))

    def test_extension_headers_that_do_not(self):
        """S10.9: routing type 0; more than 8 of them; hop-by-hop options in another place."""
        tcp = TCP(sport=self.port(), dport=SIX_KEEP, flags="S")
        base = IPv6(src=beds.CLIENT.ipv6, dst=beds.DUAL_V6)
        many = IPv6ExtHdrDestOpt()
        for _ in range(8):
            many = many / IPv6ExtHdrDestOpt()
        for headers in (
            IPv6ExtHdrRouting(type=0, addresses=["fd00:1::9"]),
            many,
            IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop(),
        ):
            self.send(self.outside, base / headers / tcp, beds.CLIENT.mac)
            self.count(drop="ipv6_extension")

    def test_what_is_dropped(self):
        """S18.3, S7.5: each under its reason."""
        tcp = TCP(sport=self.port(), dport=SIX_KEEP, flags="S")
        good = {"src": beds.CLIENT.ipv6, "dst": beds.DUAL_V6}
        for fields, packet, reason in (
            ({"src": "ff02::1"}, tcp, "ip_source"),
            ({"src": "::1"}, tcp, "ip_source"),
            ({"src": "::"}, tcp, "ip_source"),
            ({"src": "::ffff:10.1.0.150"}, tcp, "ip_source"),
            ({"src": beds.DUAL_V6}, tcp, "land"),
            ({"src": "fd00:1::2"}, tcp, "ip_source"),
            ({"hlim": 1}, tcp, "ttl_expired"),
            ({"hlim": 0}, tcp, "ttl_expired"),
            ({"dst": "fd00:1::99"}, tcp, "no_listener"),
            ({"dst": "ff02::1"}, tcp, "no_listener"),
            ({"version": 4}, tcp, "ip_header"),
            ({"plen": 1000}, tcp, "short_frame"),
            ({}, TCP(sport=1, dport=SIX_KEEP, flags="SF"), "tcp_flags"),
            ({}, TCP(sport=1, dport=SIX_KEEP, flags="S", dataofs=4), "tcp_header"),
            ({}, TCP(sport=1, dport=9999, flags="S"), "no_listener"),
            ({}, UDP(sport=1, dport=SIX_KEEP), "no_listener"),
            ({}, UDP(sport=1, dport=SIX_KEEP, chksum=0), "udp_checksum"),
            ({}, ICMPv6EchoRequest(), "icmp"),
            ({"nh": 47}, Raw(b"gre " * 4), "protocol"),
        ):
            self.send(self.outside, IPv6(**{**good, **fields}) / packet, beds.CLIENT.mac)
            self.count(drop=reason)

    # req: LSN-07
    def test_resets(self):
        """§5: 60 bytes, whatever they answer."""
        for flags in ("A", "FA", "PA"):
            tcp = TCP(sport=self.port(), dport=SIX_KEEP, flags=flags, seq=7, ack=0xFFFFFFFF)
            segment = IPv6(src=beds.CLIENT.ipv6, dst=beds.DUAL_V6, hlim=9, tc=3) / tcp / Raw(b"data")
            self.send(self.outside, segment, beds.CLIENT.mac)
            self.expect_reset(self.outside, beds.CLIENT.mac, segment)
            self.count(listener__resets=1)

    # req: CIP-11
    def test_a_target_that_is_its_own_client(self):
        """S12.3."""
        host = beds.TARGETS[0]
        segment = IPv6(src=host.ipv6, dst=beds.DUAL_V6) / TCP(sport=self.port(), dport=SIX_ONE_KEEP, flags="S")
        self.send(self.inside, segment, host.mac)
        self.count(drop="hairpin", listener__conflicts=1)

    def test_fragments(self):
        """S10.2, S10.3: each goes on by itself, once the first one has come, in whatever order; ports and checksum are in the first."""
        connection = self.six(SIX_KEEP).open()
        for number, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 2, 0))):
            sent = connection.client_segment("PA", bytes(value % 251 for value in range(1200)))
            pieces = [self.pieces(packet, 0x1000 + number) for packet in (sent, connection._inwards(sent))]
            for place in order:
                self.send(self.outside, pieces[0][place], connection.host.mac)
            got = sorted(bytes(self.receive(self.inside, "a fragment")) for _ in order)
            head = bytes(Ether(src=self.bed.inside_mac, dst=connection.target_mac, type=0x86DD))
            self.assertEqual(got, sorted(head + bytes(piece) for piece in pieces[1]))
            total = sum(len(piece) for piece in pieces[0])
            self.count(forwarded_packets=3, target__packets_in=3, target__bytes_in=total)

    @staticmethod
    def pieces(packet, identification):
        """A packet of IPv6 in three fragments."""
        packet = IPv6(bytes(packet))
        body, base = bytes(packet.payload), IPv6(src=packet.src, dst=packet.dst, hlim=packet.hlim)
        cuts = [body[at : at + 416] for at in range(0, len(body), 416)]
        last = len(cuts) - 1
        return [
            base / IPv6ExtHdrFragment(nh=6, offset=number * 52, m=int(number < last), id=identification) / Raw(cut)
            for number, cut in enumerate(cuts)
        ]

    def test_an_atomic_fragment(self):
        """S10.9 (RFC 6946): a fragment header on a whole packet: it is no fragment."""
        connection = self.six(SIX_KEEP).open()
        segment = connection.client_segment("PA", b"whole")
        base = IPv6(src=connection.client[0], dst=connection.node[0])
        connection.forwards_from_client(IPv6(bytes(base / IPv6ExtHdrFragment(id=9) / segment[TCP])))


class ProxiedTranslated(ProxiedConnection, Translated):
    """Both: a header, and the other kind of addresses."""


class Proxied(Dualstack):
    """§8 with clients that have IPv6: the header has their addresses, whatever the targets have."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        attributes = {"proxy_protocol_v2.enabled": "true", "preserve_client_ip.enabled": "false"}
        for name, port, targets, listener in (
            ("six-proxy", 8104, [host.ipv6 for host in beds.TARGETS], SIX_PROXY),
            ("six-to-four-proxy", 8105, [host.ip for host in beds.TARGETS], TO_FOUR_PROXY),
        ):
            cls.bed.group(name, "TCP", port, targets, [listener], attributes, "dual")
            cls.bed.wait_targets(name, "healthy")

    def test_the_header(self):
        """S8.8: 124 bytes."""
        for listener, kind in ((SIX_PROXY, ProxiedConnection), (TO_FOUR_PROXY, ProxiedTranslated)):
            connection = kind(self, listener, client=(beds.CLIENT.ipv6, self.port()), node=beds.DUAL_V6).open()
            self.assertEqual(len(connection.header), LENGTH_V6)
            connection.client_says(b"GET / HTTP/1.0\r\n\r\n")
            connection.target_says(b"HTTP/1.0 200 OK\r\n\r\n")
            connection.close()


def icmpv6(kind, code, word, source, destination, quote, hops=64):
    """An ICMPv6 error that quotes these bytes."""
    header = IPv6(src=source, dst=destination, nh=58, hlim=hops)
    body = struct.pack("!BBHI", kind, code, 0, word) + quote
    pseudo = bytes(header)[8:40] + struct.pack("!II", len(body), 58)
    return header / Raw(body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:])


def icmpv4(kind, code, word, source, destination, quote, hops=64):
    """An ICMP error that quotes these bytes."""
    body = struct.pack("!BBHI", kind, code, 0, word) + quote
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return IP(src=source, dst=destination, proto=1, ttl=hops) / Raw(body)


class Errors(Dualstack):
    """§11, S17.3 to S17.5."""

    def hopped(self, packet):
        """One hop later."""
        out = packet.copy()
        header = out.getlayer(IP) or out.getlayer(IPv6)
        if isinstance(header, IPv6):
            header.hlim -= 1
        else:
            header.ttl -= 1
            del header.chksum
        return out

    def test_to_the_client(self):
        """Types 1 to 3, with IPv6 on both sides."""
        for listener in (SIX_FULL_NAT, SIX_KEEP):
            connection = self.six(listener).open()
            sent = connection.from_client("PA", b"data")
            quote = bytes(self.hopped(connection._inwards(sent)))
            original = bytes(self.hopped(self.hopped(sent)))
            for kind, code, word in ((1, 0, 0), (1, 4, 0), (2, 0, 1280), (3, 0, 0), (4, 1, 40)):
                error = icmpv6(kind, code, word, "fd00:2::77", connection.seen[0], quote)
                self.send(self.inside, error, connection.target_mac)
                out = icmpv6(kind, code, word, beds.DUAL_V6, connection.client[0], original, hops=63)
                self.expect(self.outside, out, connection.host.mac, "the error")
                self.count(forwarded_packets=1, icmp_errors_forwarded=1)

    def test_from_ipv4_to_ipv6(self):
        """S17.3: an error of the targets' side, about a client with IPv6."""
        connection = SixToFour.connection(self).open()
        sent = connection.from_client("PA", b"data")
        quote = bytes(self.hopped(connection._inwards(sent)))
        original = bytes(self.hopped(self.hopped(sent)))
        for (code, word), (kind6, code6, word6) in (
            ((0, 0), (1, 0, 0)), ((1, 0), (1, 0, 0)), ((2, 0), (4, 1, 6)), ((3, 0), (1, 4, 0)), ((4, 1400), (2, 0, 1420)),
            ((4, 600), (2, 0, 1280)), ((5, 0), (1, 0, 0)), ((9, 0), (1, 1, 0)), ((10, 0), (1, 1, 0)), ((13, 0), (1, 1, 0)), ((15, 0), (1, 1, 0)),
        ):  # fmt: skip
            self.send(self.inside, icmpv4(3, code, word, "10.2.0.77", beds.DUAL, quote), connection.target_mac)
            out = icmpv6(kind6, code6, word6, beds.DUAL_V6, connection.client[0], original, hops=63)
            self.expect(self.outside, out, connection.host.mac, f"the error for 3/{code}")
            self.count(forwarded_packets=1, icmp_errors_forwarded=1)

    def test_too_big(self):
        """S10.7: IPv6 is never fragmented on the way: the sender is told the MTU."""
        connection = self.six(SIX_KEEP).open()
        sent = connection.client_segment("PA", b"x" * (beds.OUTSIDE_MTU - 60))
        self.send(self.outside, sent, connection.host.mac)
        error = self.receive(self.outside)
        self.assertEqual((error[IPv6].src, error[IPv6].dst, error[IPv6].nh), (beds.DUAL_V6, connection.client[0], 58))
        body = bytes(error[IPv6].payload)
        self.assertEqual((body[0], body[1], int.from_bytes(body[4:8], "big")), (2, 0, beds.INSIDE_MTU))
        self.assertEqual(body[8:], bytes(sent)[: len(body) - 8])
        self.assertEqual(bytes(IPv6(bytes(error[IPv6]))), bytes(error[IPv6]))
        self.count(answered_packets=1, icmp_errors_sent=1)
