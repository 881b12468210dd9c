"""All source ports towards one target in use: semantics S9.1, S9.2 and S9.5."""

import struct
import time

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

import bed as beds
from case import WireCase
from connection import SOURCE_PORTS, Connection
from hosts import Host, checksum

CLIENT = Host("02:c1:00:00:00:97", "10.1.0.151")
TARGET = beds.TARGETS[1]
# Frames under way at once: fewer than the port's ring holds.
BATCH = 200
SYN, RST, ACK = 0x02, 0x04, 0x10
ISN, ISN_TARGET = 0x01000000, 0x02000000


class Frames:
    """Segments without data or options between two addresses, made quickly: only ports, sequence numbers and flags differ."""

    def __init__(self, source, destination):
        (mac, address), (to_mac, to) = source, destination
        frame = bytes(Ether(src=mac, dst=to_mac) / IP(src=address, dst=to) / TCP())
        self._head = frame[:34]
        self._pseudo = frame[26:34] + struct.pack("!HH", 6, 20)

    def make(self, source_port, destination_port, seq, ack, flags):
        """The frame."""
        fields = (source_port, destination_port, seq, ack, 0x5000 | flags, 0xFFFF)
        total = checksum(self._pseudo + struct.pack("!HHIIHHHH", *fields, 0, 0))
        return self._head + struct.pack("!HHIIHHHH", *fields, total, 0)


class Exhaustion(WireCase):
    """One test, because it takes 55,000 connections."""

    def exchange(self, link, frames, other):
        """Sends frames on one link and returns as many that came on the other one."""
        link.flood(frames)
        got = []
        while len(got) < len(frames):
            frame = other.receive()
            self.assertIsNotNone(frame, f"{len(got)} of {len(frames)} frames came on {other.name}")
            got.append(frame)
        return got

    def fill(self, client_ports):
        """Opens a connection from each port of the client. Returns the source ports at the target."""
        to_node = Frames((CLIENT.mac, CLIENT.ip), (self.bed.outside_mac, beds.NODE))
        to_client = Frames((TARGET.mac, TARGET.ip), (self.bed.inside_mac, beds.NODE))
        syns = [to_node.make(port, beds.EXHAUSTED, ISN, 0, SYN) for port in client_ports]
        seen = [struct.unpack("!H", frame[34:36])[0] for frame in self.exchange(self.outside, syns, self.inside)]
        answers = [to_client.make(8086, port, ISN_TARGET, ISN + 1, SYN | ACK) for port in seen]
        self.exchange(self.inside, answers, self.outside)
        acks = [to_node.make(port, beds.EXHAUSTED, ISN + 1, ISN_TARGET + 1, ACK) for port in client_ports]
        self.exchange(self.outside, acks, self.inside)
        return seen

    def reset(self, client_ports):
        """Ends the connections."""
        to_node = Frames((CLIENT.mac, CLIENT.ip), (self.bed.outside_mac, beds.NODE))
        resets = [to_node.make(port, beds.EXHAUSTED, ISN + 1, 0, RST) for port in client_ports]
        self.exchange(self.outside, resets, self.inside)

    # req: CIP-14, CIP-15
    def test_every_port_once_and_then_none(self):
        batches = [SOURCE_PORTS[first : first + BATCH] for first in range(0, len(SOURCE_PORTS), BATCH)]
        used = [port for batch in batches for port in self.fill(batch)]
        count = len(SOURCE_PORTS)
        self.assertEqual(len(used), count)
        self.assertEqual(set(used), set(SOURCE_PORTS), "each port of the range once")
        self.count(forwarded_packets=3 * count, flows_created=count, listener__new_flows=count, target__new_flows=count)
        self.count(target__packets_in=2 * count, target__bytes_in=80 * count)
        self.count(target__packets_out=count, target__bytes_out=40 * count)
        self.settle()

        # One more is dropped without a word; the attempt is counted once, however often its SYN is sent.
        refused = Connection(self, beds.EXHAUSTED)
        for _ in range(3):
            self.send(self.outside, refused.client_segment("S", seq=refused.isn), refused.host.mac)
        self.send(self.outside, refused.client_segment("S", seq=refused.isn + 1), refused.host.mac)
        self.count(drop="nat_ports_exhausted", times=4, listener__no_port=2)
        self.settle()
        # To another target the same ports are free (S9.2), and no open connection is harmed.
        Connection(self, beds.ONE_FULL_NAT).open().client_says(b"elsewhere")

        began = time.monotonic()
        for batch in batches:
            self.reset(batch)
        self.count(forwarded_packets=count, target__packets_in=count, target__bytes_in=40 * count)
        self.count(client_resets=count, flows_closed=count)
        self.settle()
        # Ports rest for 10 s after a reset (S9.4): the first of them are free again then.
        while time.monotonic() < began + 12:
            time.sleep(0.1)
        Connection(self, beds.EXHAUSTED).open().client_says(b"at last")
