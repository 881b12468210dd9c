"""Packets that are dropped for what they are: each under a reason of its own (semantics S18.3, §3)."""

import random

from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

import bed as beds
from case import WireCase


class Malformed(WireCase):
    """None of these is answered or forwarded."""

    def ip(self, **fields):
        """A header that would be good."""
        return IP(**{"src": beds.CLIENT.ip, "dst": beds.NODE, **fields})

    def syn(self, **fields):
        """A SYN that would be good."""
        return TCP(**{"sport": self.port(), "dport": beds.FULL_NAT, "flags": "S", "seq": 1, **fields})

    def datagram(self, **fields):
        """A datagram that would be good."""
        return UDP(**{"sport": self.port(), "dport": beds.UDP, **fields}) / Raw(b"payload")

    def is_dropped(self, packet, reason):
        """As a packet to the appliance's MAC."""
        self.is_dropped_frame(Ether(src=beds.CLIENT.mac, dst=self.bed.outside_mac) / packet, reason)

    def is_dropped_frame(self, frame, reason):
        """As a whole frame."""
        self.outside.send(bytes(frame))
        self.count(drop=reason)

    def test_foreign_mac(self):
        for mac in ("02:00:00:00:00:01", self.bed.inside_mac):
            self.is_dropped_frame(Ether(src=beds.CLIENT.mac, dst=mac) / self.ip() / self.syn(), "foreign_mac")

    def test_ethertype(self):
        for number in (0x0600, 0x0842, 0x6003, 0x8847, 0x8863, 0x88CC, 0xFFFF):
            frame = Ether(src=beds.CLIENT.mac, dst=self.bed.outside_mac, type=number) / Raw(bytes(46))
            self.is_dropped_frame(frame, "unsupported_ethertype")

    def test_vlan(self):
        for ethertype in (0x8100, 0x88A8):
            frame = Ether(src=beds.CLIENT.mac, dst=self.bed.outside_mac, type=ethertype) / Dot1Q(vlan=5) / self.ip() / self.syn()
            self.is_dropped_frame(frame, "vlan")

    def test_cut_short(self):
        """A frame that ends before its packet does, anywhere."""
        whole = bytes(Ether(src=beds.CLIENT.mac, dst=self.bed.outside_mac) / self.ip() / self.syn() / Raw(b"data"))
        for length in (14, 15, 33, 34, 40, 53, 54, len(whole) - 1):
            self.is_dropped_frame(Raw(whole[:length]), "short_frame")

    def test_ip_header(self):
        for fields in ({"version": 5}, {"version": 6}, {"version": 0}, {"ihl": 4}, {"ihl": 0}, {"len": 19}, {"len": 0}):
            self.is_dropped(self.ip(**fields) / self.syn(), "ip_header")
        self.is_dropped(self.ip(ihl=6, len=20) / self.syn(), "ip_header")

    def test_ip_options(self):
        self.is_dropped(self.ip(options=[IPOption_NOP()] * 4) / self.syn(), "ip_options")
        self.is_dropped(self.ip(options=[IPOption_NOP()] * 40) / self.datagram(), "ip_options")

    def test_ip_checksum(self):
        good = int.from_bytes(bytes(self.ip() / self.syn())[10:12], "big")
        for wrong in (good ^ 1, good ^ 0x8000, 0, 0xFFFF):
            self.is_dropped(self.ip(chksum=wrong) / self.syn(), "ip_checksum")

    def test_ip_source(self):
        """Addresses that nobody can have."""
        for source in ("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.9"):
            self.is_dropped(self.ip(src=source) / self.syn(), "ip_source")
            self.is_dropped(self.ip(src=source) / self.datagram(), "ip_source")

    def test_land(self):
        self.is_dropped(self.ip(src=beds.NODE) / self.syn(sport=beds.FULL_NAT), "land")
        self.is_dropped(self.ip(src=beds.NODE) / self.datagram(sport=beds.UDP), "land")

    def test_ttl(self):
        for ttl in (0, 1):
            self.is_dropped(self.ip(ttl=ttl) / self.syn(), "ttl_expired")
            self.is_dropped(self.ip(ttl=ttl) / self.datagram(), "ttl_expired")

    def test_tcp_header(self):
        """A data offset that is too small, or past the end; a header cut short by the packet's length."""
        for offset in (0, 1, 4, 6, 15):
            self.is_dropped(self.ip() / self.syn(dataofs=offset), "tcp_header")
        whole = bytes(self.syn())
        for length in (0, 1, 12, 13, 19):
            self.is_dropped(self.ip(proto=6) / Raw(whole[:length]), "tcp_header")

    def test_tcp_flags(self):
        """§3: combinations that no end ever sends."""
        for flags in ("", "F", "P", "U", "FPU", "EC", "SF", "SR", "SFA", "SRA", "SFR", "FSRPAUEC"):
            self.is_dropped(self.ip() / self.syn(flags=flags), "tcp_flags")

    def test_udp_header(self):
        for length in (0, 7, 16, 0xFFFF):
            self.is_dropped(self.ip() / self.datagram(len=length), "udp_header")
        for length in (0, 1, 7):
            self.is_dropped(self.ip(proto=17) / Raw(bytes(self.datagram())[:length]), "udp_header")

    def test_an_unresolved_way_to_the_target(self):
        """All targets of the group are unhealthy, so all are used; but nobody knows the only one's MAC."""
        self.is_dropped(self.ip() / self.syn(dport=beds.UNREACHABLE), "no_next_hop")

    def test_no_more_to_linux_than_the_limit(self):
        """ARP is for Linux: 200 at once and 1000 a second."""
        question = ARP(op="who-has", hwsrc=beds.CLIENT.mac, psrc=beds.CLIENT.ip, pdst="10.1.0.77")
        moved = self.flood(self.outside, bytes(Ether(src=beds.CLIENT.mac, dst="ff:ff:ff:ff:ff:ff") / question), "drop.punt_rate")
        # Health checks are for Linux too.
        self.assertGreaterEqual(moved["punted_packets"], 200)
        self.count(drop="punt_rate", times=moved["drop.punt_rate"])

    def test_noise(self):
        """A thousand frames of random bytes to the appliance's MAC: none is answered or forwarded."""
        noise = random.Random(20)
        for number in range(1000):
            if number % 100 == 0:
                # The receive ring of a port has no room for all of it while the lcore does not run.
                self.pace()
            body = noise.randbytes(noise.randrange(0, 120))
            ethertype = noise.choice((b"\x08\x00", noise.randbytes(2)))
            if ethertype in (b"\x08\x06", b"\x86\xdd"):
                continue
            self.outside.flood([bytes(Ether(src=beds.CLIENT.mac, dst=self.bed.outside_mac))[:12] + ethertype + body])
        self.pace()
        for name, value in self.moved().items():
            if name.startswith("drop."):
                self.count(drop=name[5:], times=value)
