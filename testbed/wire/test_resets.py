"""Resets that the load balancer makes, and silence where it makes none: semantics §5 and unintended traffic."""


from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

import bed as beds
from case import WireCase, reset_for
from connection import OPTIONS

TARGET = beds.TARGETS[0]


class Answers(WireCase):
    """S5.1: to segments that belong to no flow."""

    def stray(self, flags, data=b"", listener=beds.FULL_NAT, **fields):
        """A segment of a client that has no connection."""
        fields = {"seq": 0xFFFFFFF0, "ack": 0x80000001, **fields}
        header = IP(src=beds.CLIENT.ip, dst=beds.NODE, ttl=9, tos=0x13, id=77)
        return header / TCP(sport=self.port(), dport=listener, flags=flags, **fields) / Raw(data)

    def is_reset(self, segment):
        """It is answered by the right reset, on the client's side."""
        self.send(self.outside, segment, beds.CLIENT.mac)
        self.expect_reset(self.outside, beds.CLIENT.mac, segment)
        self.count(listener__resets=1)

    # req: LSN-07
    def test_segments_that_acknowledge(self):
        """The reset's sequence number is what they acknowledge, whatever they carry; it acknowledges nothing itself."""
        for flags in ("A", "PA", "FA", "FPA", "UA", "EA", "CA"):
            for data in (b"", b"x", b"y" * 1400):
                self.is_reset(self.stray(flags, data))
        for ack in (0, 1, 0xFFFFFFFF):
            self.is_reset(self.stray("A", ack=ack))
        self.is_reset(self.stray("A", options=OPTIONS))

    # req: LSN-07
    def test_both_addressing_modes(self):
        for listener in (beds.FULL_NAT, beds.KEEP):
            self.is_reset(self.stray("A", listener=listener))

    # req: TG-18
    def test_a_syn_to_a_group_without_targets(self):
        """S2.7: the reset acknowledges what the SYN takes of the sequence space: 1, and its data."""
        for data in (b"", b"z", b"early" * 200):
            segment = self.stray("S", data, listener=beds.EMPTY, ack=0)
            self.is_reset(segment)
            self.assertEqual(reset_for(segment)[TCP].ack, (0xFFFFFFF1 + len(data)) % 2**32)
            self.count(listener__no_target=1)

    def test_ethernet_padding_is_no_data(self):
        """A segment of 40 bytes in a frame of 60: the reset acknowledges the SYN alone, and is not padded."""
        segment = self.stray("S", listener=beds.EMPTY, ack=0)
        self.outside.send(self.frame(self.outside, segment, beds.CLIENT.mac) + bytes(6))
        self.expect_reset(self.outside, beds.CLIENT.mac, segment)
        self.count(listener__resets=1, listener__no_target=1)

    # req: IDL-02
    def test_a_target_that_acknowledges(self):
        """S5.2: the reset comes from whom the target was talking to."""
        for destination in (beds.NODE, beds.CLIENT.ip, "192.0.2.7"):
            for flags, data in (("A", b""), ("PA", b"data"), ("SA", b""), ("FA", b"")):
                header = IP(src=TARGET.ip, dst=destination) / TCP(sport=8080, dport=31000, flags=flags, seq=5, ack=0xFFFFFFFF)
                self.send(self.inside, header / Raw(data), TARGET.mac)
                self.expect_reset(self.inside, TARGET.mac, header / Raw(data))

    def test_a_reset_is_never_answered(self):
        """RFC 9293 §3.10.7.1."""
        for flags in ("R", "RA", "RPA"):
            self.send(self.outside, self.stray(flags), beds.CLIENT.mac)
            self.send(self.outside, self.stray(flags, b"why", listener=beds.KEEP), beds.CLIENT.mac)
            header = IP(src=TARGET.ip, dst=beds.NODE) / TCP(sport=8080, dport=31000, flags=flags, seq=5, ack=6)
            self.send(self.inside, header, TARGET.mac)
            self.count(drop="reset_without_flow", times=3)

    def test_a_syn_ack_of_a_client(self):
        """§3: malformed, and not answered."""
        self.send(self.outside, self.stray("SA"), beds.CLIENT.mac)
        self.count(drop="tcp_flags")

    def test_a_client_with_an_address_of_the_appliance(self):
        """S18.3: an answer would go to the appliance itself."""
        for source in (beds.P0, beds.P1, beds.NODE):
            segment = self.stray("A")
            segment[IP].src = source
            self.send(self.outside, segment, beds.CLIENT.mac)
            self.count(drop="land" if source == beds.NODE else "ip_source")

    def test_no_more_than_the_limit(self):
        """S5.5: 1000 at once and 10,000 a second; what is above is dropped and counted."""
        moved = self.flood(self.outside, self.frame(self.outside, self.stray("A"), beds.CLIENT.mac), "drop.reset_rate")
        answered = moved["resets_sent"]
        self.assertGreaterEqual(answered, 1000)
        self.count(answered_packets=answered, resets_sent=answered, listener__resets=answered)
        self.count(drop="reset_rate", times=moved["drop.reset_rate"])
        for _ in range(answered):
            self.assertEqual(self.receive(self.outside)[TCP].flags, "R")


class Silence(WireCase):
    """Unintended traffic: dropped without forwarding, without answer, and counted."""

    def is_silent(self, packet, reason="no_listener", host=beds.CLIENT, link=None):
        """It is dropped for the reason."""
        self.send(link or self.outside, packet, host.mac)
        self.count(drop=reason)

    # req: LSN-06
    def test_ports_without_a_listener(self):
        """Whatever the flags; also the health checks' ports, and those of full NAT."""
        header = IP(src=beds.CLIENT.ip, dst=beds.NODE)
        for port in (1, 79, 1024, 5000, 9999, 10_000, 64_999, 65_535):
            for flags in ("S", "A", "FA", "PA", "SA", "R"):
                self.is_silent(header / TCP(sport=self.port(), dport=port, flags=flags, seq=1, ack=2))
            self.is_silent(header / UDP(sport=self.port(), dport=port) / Raw(b"?"))

    # req: LSN-06
    def test_the_other_protocol(self):
        """A listener is one of its protocol."""
        header = IP(src=beds.CLIENT.ip, dst=beds.NODE)
        self.is_silent(header / TCP(sport=self.port(), dport=beds.UDP, flags="S"))
        self.is_silent(header / UDP(sport=self.port(), dport=beds.FULL_NAT) / Raw(b"?"))

    # req: LSN-06
    def test_addresses_of_nobody(self):
        """The appliance is no router: also not from a target to a client, or to a target."""
        for destination in ("10.1.0.11", "10.2.0.51", "192.0.2.1"):
            self.is_silent(IP(src=beds.CLIENT.ip, dst=destination) / TCP(sport=self.port(), dport=80, flags="S"))
            self.is_silent(IP(src=beds.CLIENT.ip, dst=destination) / UDP(sport=self.port(), dport=53))
        header = IP(src=TARGET.ip, dst=beds.CLIENT.ip)
        self.is_silent(header / TCP(sport=self.port(), dport=80, flags="S"), host=TARGET, link=self.inside)
        self.is_silent(header / UDP(sport=self.port(), dport=53), host=TARGET, link=self.inside)

    # req: LSN-06
    def test_icmp(self):
        """S11.1, S11.7: only type 3 is ever looked at; there is no echo."""
        header = IP(src=beds.CLIENT.ip, dst=beds.NODE)
        for kind in (0, 4, 5, 8, 9, 10, 11, 12, 13, 15, 17):
            self.is_silent(header / ICMP(type=kind) / Raw(b"payload of some length, at least so much"), reason="icmp")

    # req: LSN-06
    def test_other_protocols(self):
        for number in (0, 2, 4, 41, 47, 50, 51, 89, 132, 136, 255):
            self.is_silent(IP(src=beds.CLIENT.ip, dst=beds.NODE, proto=number) / Raw(b"payload " * 5), reason="protocol")

    def test_group_addresses(self):
        """To everybody, at layer 2 or 3."""
        packet = IP(src=beds.CLIENT.ip, dst=beds.NODE) / TCP(sport=self.port(), dport=beds.FULL_NAT, flags="S")
        for mac in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"):
            self.outside.send(bytes(Ether(src=beds.CLIENT.mac, dst=mac) / packet))
            self.count(drop="no_listener")
        for destination in ("255.255.255.255", "10.1.0.255", "224.0.0.1"):
            self.is_silent(IP(src=beds.CLIENT.ip, dst=destination) / UDP(sport=self.port(), dport=beds.UDP))

    def test_a_syn_of_a_target_to_a_client(self):
        """S3.2: targets open nothing through the node, so that is not ours, also from a port where the target is one."""
        packet = IP(src=TARGET.ip, dst=beds.CLIENT.ip) / TCP(sport=8080, dport=31000, flags="S", seq=9)
        self.is_silent(packet, reason="no_flow", host=TARGET, link=self.inside)
