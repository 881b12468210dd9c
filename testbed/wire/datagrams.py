"""A UDP flow through the appliance of which the test plays both ends."""

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

import bed as beds
from case import ip, translated


class Datagrams:
    """Client and target of one flow to a listener. UDP keeps the client's address."""

    def __init__(self, case, listener, client=None, host=beds.CLIENT, link=None):
        self.case = case
        self.host, self.link = host, link or case.outside
        self.client = client or (host.ip, case.port())
        self.node = (beds.NODE, listener)
        self.target = self.target_mac = None

    def client_datagram(self, data=b"", **fields):
        """A datagram of the client to the node."""
        return self._datagram(self.client, self.node, data, fields)

    def target_datagram(self, data=b"", **fields):
        """A datagram of the target to the client."""
        return self._datagram(self.target, self.client, data, fields)

    @staticmethod
    def _datagram(source, destination, data, fields):
        packet = ip(source[0], destination[0]) / UDP(sport=source[1], dport=destination[1], **fields)
        return packet / Raw(data) if data else packet

    def open(self, data=b"first", count=True, **fields):
        """Sends the first datagram and learns which target gets it."""
        sent = self.client_datagram(data, **fields)
        self.case.send(self.link, sent, self.host.mac)
        got = self.case.receive(self.case.inside, "the first datagram")
        header = got.getlayer(IP) or got.getlayer(IPv6)
        self.target, self.target_mac = (header.dst, got[UDP].dport), got.dst
        expected = Ether(src=self.case.bed.inside_mac, dst=self.target_mac) / translated(sent, self.client, self.target)
        self.case.assert_same(got, expected, "the first datagram")
        self._count(sent, "in")
        if count:
            self.case.count(flows_created=1, listener__new_flows=1, target__new_flows=1)
        return self

    def from_client(self, data=b"", **fields):
        """A datagram of the client that comes out at the target."""
        return self.forwards_from_client(self.client_datagram(data, **fields))

    def from_target(self, data=b"", **fields):
        """A datagram of the target that comes out at the client."""
        return self.forwards_from_target(self.target_datagram(data, **fields))

    def forwards_from_client(self, sent):
        """Sends a packet of the client, which must come out at the target."""
        self.case.send(self.link, sent, self.host.mac)
        self.case.expect(self.case.inside, translated(sent, self.client, self.target), self.target_mac, "the datagram")
        self._count(sent, "in")

    def forwards_from_target(self, sent):
        """Sends a packet of the target, which must come out at the client."""
        self.case.send(self.case.inside, sent, self.target_mac)
        self.case.expect(self.link, translated(sent, self.node, self.client), self.host.mac, "the datagram")
        self._count(sent, "out")

    def _count(self, sent, way):
        self.case.count(forwarded_packets=1, **{f"target__packets_{way}": 1, f"target__bytes_{way}": len(sent)})
