"""PROXY protocol v2: semantics §8."""

from scapy.layers.inet import IP, TCP

import bed as beds
from case import WireCase, translated
from connection import MODULUS, OPTIONS_ANSWER, Connection
from proxy import LENGTH, ProxiedConnection, header

PROXY_FULL_NAT, PROXY_KEEP = 92, 93

class Proxied(WireCase):
    """Listeners whose targets get headers."""

    @classmethod
    def setUpClass(cls):
        targets = [host.ip for host in beds.TARGETS]
        for name, port, listener, keep in (("proxy-full-nat", 8092, PROXY_FULL_NAT, "false"), ("proxy-keep", 8093, PROXY_KEEP, "true")):
            attributes = {"preserve_client_ip.enabled": keep, "proxy_protocol_v2.enabled": "true"}
            cls.bed.group(name, "TCP", port, targets, [listener], attributes)
        for name in ("proxy-full-nat", "proxy-keep"):
            cls.bed.wait_targets(name, "healthy")


class Modes:
    """What holds in both addressing modes."""

    listener = None

    def connection(self, **options):
        return ProxiedConnection(self, self.listener, **options)

    # req: PP2-02
    def test_data_both_ways(self):
        """S8.1, S8.2: the header comes first, in a segment of its own; then everything is shifted."""
        connection = self.connection().open()
        connection.client_says(b"GET / HTTP/1.0\r\n\r\n")
        connection.target_says(b"HTTP/1.0 200 OK\r\n\r\n")
        connection.client_says(b"more")
        connection.close()
        self.assertEqual(connection.state(), "time-wait")

    # req: PP2-10
    def test_the_server_speaks_first(self):
        """S8.1: the target has the header before the client has said anything."""
        connection = self.connection().open(acknowledge=False)
        connection.from_target("PA", b"220 ready\r\n")
        connection.next_target += 11
        connection.from_client("A")
        connection.client_says(b"HELO\r\n")

    def test_the_server_speaks_before_the_header_has_arrived(self):
        """S8.2, S8.4: it acknowledges nothing of the header, and then a part of it: for the client that is its first byte."""
        connection = self.connection().open(acknowledge=False)
        first = connection.isn + 1
        for acknowledged in (first, first + 1, first + LENGTH - 1, first + LENGTH):
            connection.from_target("PA", b"220 ready\r\n", ack=acknowledged)
            connection.next_target += 11
        connection.from_client("A")

    def test_data_with_the_acknowledgement(self):
        """S8.5: the client's first data completes the handshake: the header goes before it."""
        connection = self.connection()
        connection.syn()
        connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        connection.complete("PA", b"first")
        connection.next_client += 5
        connection.from_target("A")

    def test_sequence_numbers_wrap(self):
        """S8.11: within the header, and at its ends."""
        for isn in (MODULUS - 1, MODULUS - 2, MODULUS - LENGTH, MODULUS - LENGTH - 1, MODULUS - 50):
            connection = self.connection(isn=isn).open()
            connection.client_says(b"over the edge")
            connection.target_says(b"and back")

    def test_fin_right_after_the_handshake(self):
        """S8.6: it is shifted as data is."""
        connection = self.connection().open(acknowledge=False)
        connection.close()

    def test_fin_with_the_acknowledgement(self):
        """A client that has nothing to say."""
        connection = self.connection()
        connection.syn()
        connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        connection.complete("FA")
        connection.next_client = (connection.next_client + 1) % MODULUS
        connection.from_target("FA")

    def test_selective_acknowledgements(self):
        """S8.2: every edge is moved; none comes before the client's first byte."""
        connection = self.connection().open(acknowledge=False)
        first = connection.isn + 1
        shifted = first + LENGTH
        connection.from_client("PA", b"a" * 100)
        connection.from_client("PA", b"b" * 100, seq=connection.next_client + 200)
        # The header is lost: what the client has sent lies behind a hole.
        connection.from_target("PA", b"x", ack=first, options=[("NOP", None), ("NOP", None), ("SAck", (shifted, shifted + 100))])
        connection.next_target += 1
        edges = (shifted + 200, shifted + 300, shifted, shifted + 100)
        connection.from_target("PA", b"x", ack=first, options=[("NOP", None), ("NOP", None), ("SAck", edges)])
        connection.next_target += 1
        # A hole within the client's data.
        connection.from_target("A", ack=shifted + 100, options=[("NOP", None), ("NOP", None), ("SAck", (shifted + 200, shifted + 300))])

    def test_an_acknowledgement_of_the_header_alone(self):
        """S8.4: nothing in it is the client's business, and three of them would look like a loss."""
        connection = self.connection().open(acknowledge=False)
        for acknowledged in (1, 50, LENGTH - 1, LENGTH):
            self.send(self.inside, connection.target_segment("A", ack=connection.isn + 1 + acknowledged), connection.target_mac)
            self.count(consumed_packets=1)
        self.settle()
        connection.client_says(b"data")

    def test_a_new_window_passes(self):
        """S8.4: only what says nothing new is kept from the client."""
        connection = self.connection().open(acknowledge=False)
        connection.from_target("A", ack=connection.isn + 1 + LENGTH, window=4321)

    def test_the_client_acknowledges_again(self):
        """The header is sent once for one handshake."""
        connection = self.connection().open()
        for _ in range(3):
            connection.from_client("A")

    def test_resets(self):
        """S8.6: each way."""
        connection = self.connection().open()
        connection.client_says(b"data")
        connection.from_client("R")
        self.count(client_resets=1, flows_closed=1)
        connection = self.connection().open()
        connection.client_says(b"data")
        connection.from_target("RA")
        self.count(target_resets=1, target__resets=1, flows_closed=1)

    def test_everything_twice(self):
        """S8.11: a network that sends every packet two times."""
        connection = self.connection()
        sent = connection.syn()
        connection.forwards_from_client(sent)
        for _ in range(2):
            connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        connection.complete()
        connection.from_client("A")
        for _ in range(2):
            connection.acknowledge_header()
        for _ in range(2):
            connection.from_client("PA", b"hello")
        connection.next_client += 5
        for _ in range(2):
            connection.from_target("PA", b"world")

    def test_the_header_is_lost_once(self):
        """S8.3: two acknowledgements of the client's first byte bring it again at once."""
        connection = self.connection().open(acknowledge=False)
        connection.from_client("PA", b"data behind the hole")
        connection.next_client += 20
        for _ in range(2):
            self.send(self.inside, connection.target_segment("A", ack=connection.isn + 1), connection.target_mac)
            self.count(consumed_packets=1)
        connection.expect_header()
        connection.from_target("A")

    def test_the_header_is_lost_twice(self):
        """S8.3: after 200 ms it comes again, and after 400 ms more (test_half_minute.py has all of it)."""
        connection = self.connection().open(acknowledge=False)
        for _ in range(2):
            connection.expect_header()
        connection.acknowledge_header()


class FullNat(Modes, Proxied):
    """Targets see the node; the header has the client."""

    listener = PROXY_FULL_NAT


class Keep(Modes, Proxied):
    """Targets see the client."""

    listener = PROXY_KEEP


class Special(Proxied):
    """What has nothing to do with the addressing mode."""

    def test_fast_open(self):
        """S8.7: the header is to come first, so the option and the SYN's payload go: the client sends it again."""
        connection = ProxiedConnection(self, PROXY_FULL_NAT)
        cookie = [("MSS", 1460), (34, b"12345678"), ("NOP", None), ("WScale", 7)]
        sent = connection.client_segment("S", b"early", seq=connection.isn, options=cookie)
        self.send(self.outside, sent, connection.host.mac)
        got = self.receive(self.inside, "the SYN")
        connection.target, connection.target_mac = (got[IP].dst, got[TCP].dport), got.dst
        connection.seen = (got[IP].src, got[TCP].sport)
        stripped = connection.client_segment("S", seq=connection.isn, options=[("MSS", 1460), *[("NOP", None)] * 11, ("WScale", 7)])
        expected = translated(stripped, connection.seen, connection.target)
        self.assertEqual(bytes(got[IP]), bytes(expected))
        self.count(forwarded_packets=1, flows_created=1, listener__new_flows=1, target__new_flows=1)
        self.count(target__packets_in=1, target__bytes_in=len(stripped))
        connection.from_target("SA", seq=connection.isn_target, ack=connection.isn + 1)
        connection.complete("PA", b"early")
        connection.next_client += 5
        connection.from_target("A")

    def test_one_header_a_connection(self):
        """A client may send one of its own: it is data."""
        connection = ProxiedConnection(self, PROXY_FULL_NAT).open()
        connection.client_says(header(("192.0.2.1", 1), ("192.0.2.2", 2)))

    # req: ATT-05
    def test_without_the_attribute(self):
        """Nothing is sent."""
        Connection(self, beds.FULL_NAT).open().client_says(b"data")
