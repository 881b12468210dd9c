"""A TCP connection through the appliance of which the test plays both ends: every segment says its sequence numbers itself.

`from_client` and `from_target` send a segment and demand that it comes out at the other end, changed in addresses, ports, TTL and
checksums and in nothing else. `next_client` and `next_target` are the sequence numbers that each end sends next.
"""

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

import bed as beds
from case import RESET_IP, ip, is_v6, socket_text, translated

OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (0x11223344, 0)), ("NOP", None), ("WScale", 7)]
OPTIONS_ANSWER = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (0x55667788, 0x11223344)), ("NOP", None), ("WScale", 5)]
SOURCE_PORTS = range(10_000, 65_000)
MODULUS = 2**32
# States of a flow that the load balancer has ended.
ENDED = ("reset", "terminated")


class Connection:
    """Client and target of one connection to a listener."""

    def __init__(self, case, listener, client=None, host=beds.CLIENT, link=None, node=beds.NODE, isn=0x10000000, isn_target=0x20000000):
        self.case = case
        # Where the client is: a target may be a client too.
        self.host, self.link = host, link or case.outside
        self.client = client or (host.ip, case.port())
        self.node = (node, listener)
        self.isn, self.isn_target = isn, isn_target
        self.next_client, self.next_target = (isn + 1) % MODULUS, (isn_target + 1) % MODULUS
        self.target = self.seen = self.target_mac = None

    # Segments

    def client_segment(self, flags, data=b"", seq=None, ack=None, **fields):
        """A segment of the client to the node."""
        return self._segment(self.client, self.node, flags, data, self.next_client, self.next_target, seq, ack, fields)

    def target_segment(self, flags, data=b"", seq=None, ack=None, **fields):
        """A segment of the target to whom it sees as the client."""
        return self._segment(self.target, self.seen, flags, data, self.next_target, self.next_client, seq, ack, fields)

    @staticmethod
    def _segment(source, destination, flags, data, next_seq, next_ack, seq, ack, fields):
        seq = next_seq if seq is None else seq % MODULUS
        if ack is None:
            ack = next_ack if "A" in flags else 0
        header = TCP(sport=source[1], dport=destination[1], flags=flags, seq=seq, ack=ack % MODULUS, **fields)
        packet = ip(source[0], destination[0]) / header
        return packet / Raw(data) if data else packet

    # Opening

    def syn(self, segment=None, count=True, **fields):
        """Sends a SYN (with the ISN, unless it says another) and learns from where it comes out which target was chosen and what it sees."""
        fields.setdefault("options", OPTIONS)
        sent = segment or self.client_segment("S", seq=fields.pop("seq", self.isn), **fields)
        self.case.send(self.link, sent, self.host.mac)
        got = self.case.receive(self.case.inside, "the SYN")
        header = got.getlayer(IP) or got.getlayer(IPv6)
        self.target, self.seen = (header.dst, got[TCP].dport), (header.src, got[TCP].sport)
        self.target_mac = got.dst
        macs = {address: target.mac for target in beds.TARGETS for address in target.texts}
        self.case.assertEqual(macs.get(self.target[0]), self.target_mac, "the SYN went to a target's address and MAC")
        expected = Ether(src=self.case.bed.inside_mac, dst=self.target_mac) / self._inwards(sent)
        self.case.assert_same(got, expected, "the SYN")
        if self.is_full_nat():
            self.case.assertIn(self.seen[1], SOURCE_PORTS)
        else:
            self.case.assertEqual(self.seen, self.client)
        self._count_in(sent)
        if count:
            self.case.count(flows_created=1, listener__new_flows=1, target__new_flows=1)
        return sent

    def open(self, **fields):
        """The whole handshake."""
        self.syn(**fields)
        self.from_target("SA", seq=self.isn_target, options=OPTIONS_ANSWER)
        self.from_client("A")
        return self

    def is_full_nat(self):
        """Whether the target sees the node."""
        return self.seen[0] in beds.NODES

    # Going on

    def from_client(self, flags="A", data=b"", **fields):
        """A segment of the client that comes out at the target."""
        sent = self.client_segment(flags, data, **fields)
        return self.forwards_from_client(sent)

    def from_target(self, flags="A", data=b"", **fields):
        """A segment of the target that comes out at the client."""
        sent = self.target_segment(flags, data, **fields)
        return self.forwards_from_target(sent)

    def forwards_from_client(self, sent):
        """Sends a packet of the client, which must come out at the target."""
        self.case.send(self.link, sent, self.host.mac)
        self.case.expect(self.case.inside, self._inwards(sent), self.target_mac, "what the client sent")
        self._count_in(sent)
        return sent

    def forwards_from_target(self, sent):
        """Sends a packet of the target, which must come out at the client."""
        self.case.send(self.case.inside, sent, self.target_mac)
        self.case.expect(self.link, self._outwards(sent), self.host.mac, "what the target sent")
        self._count_out(sent)
        return sent

    def client_says(self, data):
        """Data of the client, acknowledged."""
        self.from_client("PA", data)
        self.next_client = (self.next_client + len(data)) % MODULUS
        self.from_target("A")

    def target_says(self, data):
        """Data of the target, acknowledged."""
        self.from_target("PA", data)
        self.next_target = (self.next_target + len(data)) % MODULUS
        self.from_client("A")

    def close(self):
        """Closes it: the client first, the target then, everything acknowledged."""
        self.from_client("FA")
        self.next_client = (self.next_client + 1) % MODULUS
        self.from_target("A")
        self.from_target("FA")
        self.next_target = (self.next_target + 1) % MODULUS
        self.from_client("A")
        self.case.count(flows_closed=1)

    # Not going on

    def resets_client(self, sent):
        """Sends a segment of the client, which must be answered by a reset of the load balancer."""
        self.case.send(self.link, sent, self.host.mac)
        self.case.expect_reset(self.link, self.host.mac, sent)
        self.case.count(listener__resets=1)

    def resets_target(self, sent):
        """Sends a segment of the target, which must be answered by a reset of the load balancer."""
        self.case.send(self.case.inside, sent, self.target_mac)
        self.case.expect_reset(self.case.inside, self.target_mac, sent)

    def end_of_client(self, *numbers):
        """The resets that the client gets when the load balancer ends the connection: with the sequence numbers given, or the next one (S5.3)."""
        return self._end(self.node, self.client, self.host.mac, numbers or (self.next_target,))

    def end_of_target(self, *numbers):
        """The resets that the target gets."""
        return self._end(self.seen, self.target, self.target_mac, numbers or (self.next_client,))

    @staticmethod
    def _end(source, destination, mac, numbers):
        base = ip(source[0], destination[0], **RESET_IP[is_v6(destination[0])])
        ports = {"sport": source[1], "dport": destination[1]}
        return [(base / TCP(**ports, flags="R", seq=number % MODULUS, window=0), mac) for number in numbers]

    def state(self):
        """What the appliance says of the flow, or None if it has none."""
        flows = self.case.bed.api.flows(f"client={socket_text(self.client)}&vip={socket_text(self.node)}")
        return flows[0]["state"] if flows else None

    def _inwards(self, sent):
        """What becomes of a packet of the client."""
        return translated(sent, self.seen, self.target)

    def _outwards(self, sent):
        """What becomes of a packet of the target."""
        return translated(sent, self.node, self.client)

    def _count_in(self, sent):
        self.case.count(forwarded_packets=1, target__packets_in=1, target__bytes_in=len(sent))

    def _count_out(self, sent):
        self.case.count(forwarded_packets=1, target__packets_out=1, target__bytes_out=len(sent))
