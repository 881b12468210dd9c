"""A TCP connection whose target gets a PROXY protocol v2 header before the client's first byte (semantics §8).

From the header on, the target counts L more bytes of the client than the client has sent: sequence numbers towards the target are L higher,
and acknowledgements towards the client L lower, never below the first byte.
"""

import ipaddress
import struct

from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from case import ip, is_v6
from connection import MODULUS, OPTIONS_ANSWER, Connection

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CRC32C, NOOP = 0x03, 0x04
# Bytes of the header for a client with IPv4, with IPv6.
LENGTH, LENGTH_V6 = 16 + 84, 16 + 108


def crc32c(data):
    """CRC-32C (RFC 9260 appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def header(client, node):
    """The header's bytes (S8.8): the addresses, a checksum, and padding to the length that is always the same."""
    addresses = ipaddress.ip_address(client[0]).packed + ipaddress.ip_address(node[0]).packed
    addresses += struct.pack("!HH", client[1], node[1])
    family = 0x21 if is_v6(client[0]) else 0x11
    length = (LENGTH_V6 if is_v6(client[0]) else LENGTH) - 16
    padding = length - len(addresses) - 7 - 3
    parts = [
        SIGNATURE + struct.pack("!BBH", 0x21, family, length) + addresses + struct.pack("!BH", CRC32C, 4),
        bytes(4),
        struct.pack("!BH", NOOP, padding) + bytes(padding),
    ]
    parts[1] = struct.pack("!I", crc32c(b"".join(parts)))
    return b"".join(parts)


class ProxiedConnection(Connection):
    """A connection whose header is sent when the client's acknowledgement completes the handshake."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.header = header(self.client, self.node)
        # What the target is ahead of the client, once the header is on its way.
        self.ahead = 0

    def open(self, acknowledge=True, **fields):
        """The handshake, the header, and its acknowledgement."""
        self.syn(**fields)
        self.from_target("SA", seq=self.isn_target, options=OPTIONS_ANSWER)
        self.complete()
        if acknowledge:
            self.acknowledge_header()
        return self

    def complete(self, flags="A", data=b"", **fields):
        """The client completes the handshake: the header comes out first, then what the client has sent, if it is more than an acknowledgement."""
        sent = self.client_segment(flags, data, **fields)
        self.case.send(self.link, sent, self.host.mac)
        self.expect_header()
        self.case.headers.append(self.header)
        self.ahead = len(self.header)
        self.case.expect(self.case.inside, self._inwards(sent), self.target_mac, "what the client sent")
        self._count_in(sent)
        return sent

    def expect_header(self):
        """The header comes out at the target, in a segment of its own."""
        first = (self.isn + 1) % MODULUS
        frame = self.case.inside.receive()
        self.case.assertIsNotNone(frame, "no header came")
        got = Ether(frame)
        segment = got[TCP]
        self.case.assertEqual(bytes(segment.payload), self.header)
        self.case.assertEqual((segment.seq, segment.ack), (first, (self.isn_target + 1) % MODULUS))
        self.case.assertEqual(set(str(segment.flags)) - {"P"}, {"A"})
        base = ip(self.seen[0], self.target[0])
        for name in ("ttl", "id", "flags") if not is_v6(self.target[0]) else ("hlim",):
            setattr(base, name, getattr(got.payload, name))
        expected = base / TCP(
            sport=self.seen[1], dport=self.target[1], flags=segment.flags, seq=segment.seq, ack=segment.ack,
            window=segment.window, options=segment.options,
        ) / self.header  # fmt: skip
        self.case.assert_same(got.payload, expected, "the header's segment")
        self.case.count(originated_packets=1, proxy_headers_sent=1)

    def acknowledge_header(self):
        """The target acknowledges it, which is not the client's business."""
        self.case.send(self.case.inside, self.target_segment("A", ack=self.isn + 1 + self.ahead), self.target_mac)
        self.case.count(consumed_packets=1)
        # Nothing that the client sends now is to be seen before it.
        self.case.pace()

    def target_segment(self, flags, data=b"", seq=None, ack=None, **fields):
        """A segment of the target: it acknowledges the header as well."""
        if ack is None and "A" in flags:
            ack = self.next_client + self.ahead
        return super().target_segment(flags, data, seq, ack, **fields)

    def _inwards(self, sent):
        out = super()._inwards(sent)
        out[TCP].seq = (sent[TCP].seq + self.ahead) % MODULUS
        return out

    def _outwards(self, sent):
        out = super()._outwards(sent)
        if self.ahead and "A" in sent[TCP].flags:
            out[TCP].ack = self._behind(sent[TCP].ack)
        out[TCP].options = [
            (name, tuple(self._behind(edge) for edge in value) if name == "SAck" else value) for name, value in out[TCP].options
        ]
        return out

    def _behind(self, number):
        """A number of the client's sequence space, as the target has it, for the client: not below its first byte."""
        distance = (number - self.isn - 1) % MODULUS
        return (self.isn + 1 + max(0, distance - self.ahead)) % MODULUS if distance < MODULUS // 2 else (self.isn + 1) % MODULUS
