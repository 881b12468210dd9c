"""The hosts on a link: what they do by themselves, so that tests need not.

They answer who asks for their MAC (ARP, RFC 826; neighbour solicitations, RFC 4861), and health checks: a TCP connection to HEALTH_PORT is accepted and closed,
without any memory of it, or refused while the host is told to be unhealthy. Nothing else is answered: no operating system has
these addresses, so no kernel resets or acknowledges what a test plays.

Byte order: network order throughout, as the frames have it.
"""

import ipaddress
import struct

# Where targets take health checks.
HEALTH_PORT = 9300

ISN = 0x48454C54
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
TCP, ICMPV6 = 6, 58
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136


def checksum(data):
    """The Internet checksum (RFC 1071) of these bytes."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac_bytes(mac):
    """A MAC address in its six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


class Host:
    """Addresses behind one MAC."""

    def __init__(self, mac, *addresses):
        self.mac = mac
        self.texts = addresses
        self.addresses = [ipaddress.ip_address(address).packed for address in addresses]
        self.is_healthy = True

    @property
    def ip(self):
        """The first address, of IPv4."""
        return self.texts[0]

    @property
    def ipv6(self):
        """The second address, of IPv6."""
        return self.texts[1]


class Hosts:
    """All hosts of a link, and whether they are targets, which take health checks."""

    def __init__(self, hosts, are_checked=False):
        self.hosts = list(hosts)
        self._are_checked = are_checked

    def add(self, host):
        """One more."""
        self.hosts = self.hosts + [host]
        return host

    def answer(self, frame):
        """What the hosts say to a frame by themselves: a list of frames, or None for one that a test is to get."""
        ethertype = int.from_bytes(frame[12:14], "big")
        if ethertype == ETHERTYPE_ARP:
            return self._arp(frame)
        if ethertype == ETHERTYPE_IPV4 and frame[14] == 0x45 and frame[23] == TCP:
            end = 14 + int.from_bytes(frame[16:18], "big")
            return self._check(frame[:end], frame[26:30], frame[30:34], 34)
        if ethertype == ETHERTYPE_IPV6 and frame[20] == TCP:
            return self._check(frame, frame[22:38], frame[38:54], 54)
        if ethertype == ETHERTYPE_IPV6 and frame[20] == ICMPV6 and frame[54] in range(130, 138):
            return self._neighbour(frame)
        if ethertype == ETHERTYPE_IPV6 and frame[20] == 0 and frame[54] == ICMPV6:
            return []  # multicast listener reports of the appliance's kernel
        return None

    def _find(self, address):
        return next((host for host in self.hosts if address in host.addresses), None)

    def _arp(self, frame):
        sender_mac, sender, wanted = frame[22:28], frame[28:32], frame[38:42]
        host = self._find(wanted)
        if host is None or frame[20:22] != b"\0\1":
            return []
        mac = mac_bytes(host.mac)
        return [sender_mac + mac + frame[12:20] + b"\0\2" + mac + wanted + sender_mac + sender]

    def _neighbour(self, frame):
        host = self._find(frame[62:78])
        if frame[54] != NEIGHBOUR_SOLICITATION or host is None:
            return []
        mac, asker, target = mac_bytes(host.mac), frame[22:38], frame[62:78]
        if asker == bytes(16):
            return []  # duplicate address detection
        body = struct.pack("!BBHI", NEIGHBOUR_ADVERTISEMENT, 0, 0, 0x60000000) + target + b"\2\1" + mac
        pseudo = target + asker + struct.pack("!II", len(body), ICMPV6)
        body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
        header = struct.pack("!IHBB", 0x60000000, len(body), ICMPV6, 255) + target + asker
        return [frame[6:12] + mac + frame[12:14] + header + body]

    def _check(self, frame, source, destination, l4):
        # Later fragments have no ports, and may be shorter than a header.
        if len(frame) < l4 + 20 or (l4 == 34 and frame[20] & 0x1F | frame[21]):
            return None
        source_port, destination_port, seq, ack = struct.unpack("!HHII", frame[l4 : l4 + 12])
        if destination_port != HEALTH_PORT or not self._are_checked:
            return None
        host, flags = self._find(destination), frame[l4 + 13]
        length = len(frame) - l4 - 4 * (frame[l4 + 12] >> 4)
        if host is None or flags & RST:
            return []
        if flags & SYN:
            answer = (ISN, seq + 1, SYN | ACK) if host.is_healthy else (0, seq + 1, RST | ACK)
        elif flags & FIN:
            answer = (ack, seq + length + 1, FIN | ACK)
        elif length:
            answer = (ack, seq + length, ACK)
        else:
            return []
        segment = struct.pack(
            "!HHIIBBHHH", destination_port, source_port, answer[0], answer[1] & 0xFFFFFFFF, 0x50, answer[2], 0xFFFF, 0, 0
        )
        pseudo = destination + source + struct.pack("!II", len(segment), TCP)
        segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
        if len(source) == 4:
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, TCP, 0) + destination + source
            header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        else:
            header = struct.pack("!IHBB", 0x60000000, len(segment), TCP, 64) + destination + source
        return [frame[6:12] + frame[0:6] + frame[12:14] + header + segment]
