"""The test case all modules build on.

A test says of every packet what becomes of it, byte by byte, and nothing else may happen: when its body is over, no link may hold a frame that it has not
received, and every counter of the appliance must have moved by exactly what the test accounts for. The helpers here and in
connection.py account for what they expect; a test adds the rest with `count`.

"Nothing else" is known without waiting for time to pass: packets of one lcore keep their order, so once a packet that was sent later
has been answered on a link, there is no answer to an earlier one to come.
"""

import difflib
import functools
import itertools
import os
import time
import unittest
from collections import Counter

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

import bed as beds

# Counters that move by themselves: health checks, address resolution, the polling loop, timers.
FREE = {
    "rx_packets",
    "rx_bytes",
    "punted_packets",
    "linux_tx_packets",
    "linux_tx_dropped",
    "busy_cycles",
    "idle_cycles",
    "loops",
    "loops_over_1us",
    "loops_over_2us",
    "loops_over_5us",
    "loops_over_10us",
    "loops_over_20us",
    "loops_over_50us",
    "loops_over_100us",
    "loops_over_200us",
    "loops_over_500us",
    "loops_over_1ms",
    "loops_over_2ms",
    "loops_over_5ms",
    "loops_over_10ms",
    "flows_expired",
    "forwarded_bytes",
    "in_hand",
    "listener.active_flows",
    "listener.flow_refs",
    "target.active_flows",
    "target.flow_refs",
}

# How long counters may lag behind what was seen on the links.
COUNTERS_S = 5

# The IP fields of the load balancer's own resets, by whether they are IPv6.
RESET_IP = ({"ttl": 64, "id": 0, "flags": "DF"}, {"hlim": 64})

# A flood, and how often it is sent at the most.
FLOOD, FLOODS = 3000, 10

# So many of the last frames are shown for a test that fails.
LOG_ROWS = 60

# A port that nobody uses.
PACER_PORT = 1


def needs_fragments(test):
    """Leaves a test or a class of tests out where IPv4 fragments do not reach the appliance: net_af_packet has the kernel put them
    together (PACKET_FANOUT_FLAG_DEFRAG). wire.rs sets LEAT_WIRE_FRAGMENTS where the ports have another driver."""
    reason = "net_af_packet gets IPv4 fragments put together by the kernel"
    return unittest.skipUnless(os.environ.get("LEAT_WIRE_FRAGMENTS"), reason)(test)


class WireCase(unittest.TestCase):
    """A test with a bed."""

    bed = None
    maxDiff = None
    # Whether targets leave for good in the tests of a class, and what was counted for them with them.
    targets_leave = False
    _ports = itertools.count(20000)
    _stamps = itertools.count(0x70000000)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if name.startswith("test_"):
                setattr(cls, name, cls._accounted(method))

    @staticmethod
    def _accounted(method):
        @functools.wraps(method)
        def run(self):
            method(self)
            self.settle()
            self.assert_accounted()

        return run

    def setUp(self):
        self.outside, self.inside = self.bed.outside, self.bed.inside
        self.expected = Counter()
        self.headers = []
        self.pace()
        for link in (self.outside, self.inside):
            link.waiting()
            link.take_log()
        self._pacing = Counter()
        self.before = self._after_pace()

    # Sending

    def port(self):
        """A client port that no other test uses."""
        return next(self._ports)

    def frame(self, link, packet, mac):
        """A packet of the host with this MAC, to the appliance."""
        return bytes(Ether(src=mac, dst=self.mac(link)) / packet)

    def send(self, link, packet, mac):
        """Sends a packet of the host with this MAC to the appliance."""
        link.send(self.frame(link, packet, mac))

    def mac(self, link):
        """The MAC of the appliance's port on a link."""
        return self.bed.outside_mac if link is self.outside else self.bed.inside_mac

    # Receiving

    def receive(self, link, what="a frame"):
        """The next frame on a link."""
        while True:
            frame = link.receive()
            self.assertIsNotNone(frame, f"{what}: nothing came on {link.name}")
            if not self._is_repeated(frame):
                return Ether(frame)

    def _is_repeated(self, frame):
        """Whether it is a PROXY header that was sent again, because a busy machine has not acknowledged it in time."""
        if not frame.endswith(tuple(self.headers)):
            return False
        self.count(originated_packets=1, proxy_headers_sent=1)
        return True

    def expect(self, link, packet, mac, what="the next frame"):
        """The next frame on a link has exactly the bytes of this packet, from the appliance to the host with this MAC."""
        expected = Ether(src=self.mac(link), dst=mac) / packet
        self.assert_same(self.receive(link, what), expected, f"{what} on {link.name}")

    def assert_same(self, got, expected, what):
        """Two frames are the same bytes; if not, says in which fields they differ."""
        if bytes(got) == bytes(expected):
            return
        texts = [type(it)(bytes(it)).show(dump=True).splitlines() for it in (expected, got)]
        difference = "\n".join(difflib.unified_diff(*texts, "expected", "got", lineterm="", n=3))
        raw = f"expected {bytes(expected).hex()}\n     got {bytes(got).hex()}"
        self.fail(f"{what} is another one:\n{difference}\n{raw}")

    def expect_reset(self, link, mac, segment):
        """The next frame is the reset that the load balancer makes for a segment (RFC 9293 §3.10.7.1; S5.1, S5.5), addressed to `mac`."""
        self.expect(link, reset_for(segment), mac, "the reset")
        self.count(answered_packets=1, resets_sent=1)

    def expect_made(self, link, packets, **counters):
        """The next frames on a link, in any order, are these: (packet, MAC) each; resets that the load balancer has made by itself."""
        wanted = sorted(bytes(Ether(src=self.mac(link), dst=mac) / packet) for packet, mac in packets)
        got = sorted(bytes(self.receive(link, "a reset of the load balancer")) for _ in packets)
        for one, other in zip(got, wanted):
            self.assert_same(Ether(one), Ether(other), f"a reset of the load balancer on {link.name}")
        self.count(originated_packets=len(packets), resets_sent=len(packets), **counters)

    # Accounting

    def count(self, drop=None, times=1, **counters):
        """These counters are to move by so much; `drop` names the reason of dropped packets. A dot in a name is written as two underscores."""
        if drop:
            self.expected[f"drop.{drop}"] += times
        for name, value in counters.items():
            self.expected[name.replace("__", ".")] += value

    def settle(self):
        """Everything sent until now has been handled, and what came of it has arrived: nothing may wait to be received."""
        self.pace()
        for link in (self.outside, self.inside):
            left = [Ether(frame).summary() for frame in link.waiting() if not self._is_repeated(frame)]
            self.assertEqual(left, [], f"unexpected on {link.name}")

    def pace(self):
        """Sends on each link a segment that is answered there, and waits for the answer; at the end once more on the first link, for
        what the second one's packets sent there."""
        for link in (self.outside, self.inside, self.outside):
            stamp = next(self._stamps)
            segment = self._pacer(link, stamp)
            link.send(segment)
            marker = stamp.to_bytes(4, "big")
            found = link.take(lambda frame, marker=marker: frame[38:42] == marker and frame[47] == 0x04)
            self.assertIsNotNone(found, f"the appliance does not answer on {link.name}")
            self._count_pace(link)

    def _pacer(self, link, stamp):
        pacer, target = beds.PACER, beds.TARGETS[0]
        if link is self.outside:
            segment = IP(src=pacer.ip, dst=beds.NODE) / TCP(sport=PACER_PORT, dport=beds.FULL_NAT, flags="A", ack=stamp)
            return bytes(Ether(src=pacer.mac, dst=self.bed.outside_mac) / segment)
        segment = IP(src=target.ip, dst=pacer.ip) / TCP(sport=8080, dport=PACER_PORT, flags="A", ack=stamp)
        return bytes(Ether(src=target.mac, dst=self.bed.inside_mac) / segment)

    def _count_pace(self, link):
        pacing = getattr(self, "_pacing", None)
        if pacing is not None:
            pacing["answered_packets"] += 1
            pacing["resets_sent"] += 1
            pacing["listener.resets"] += link is self.outside

    def _is_watched(self, name):
        return name not in FREE and not (self.targets_leave and name.startswith("target."))

    def moved(self):
        """By how much each counter has moved in this test until now."""
        return self.bed.api.counters().since(self.before)

    def assert_accounted(self):
        """Every counter has moved by what the test says."""
        expected = {name: value for name, value in (self.expected + self._pacing).items() if value and self._is_watched(name)}
        end = time.monotonic() + COUNTERS_S
        while True:
            moved = {name: value for name, value in self.moved().items() if value and self._is_watched(name)}
            if moved == expected:
                return
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        wrong = {
            name: f"{moved.get(name, 0)}, not {expected.get(name, 0)}"
            for name in sorted({*moved, *expected})
            if moved.get(name, 0) != expected.get(name, 0)
        }
        self.fail(f"counters have moved by {wrong}")

    def _after_pace(self):
        """The counters when a pace is over. Its last answer may have been seen before it was counted."""
        return self.bed.wait("packets to be counted", self.bed.api.counters, lambda now: now.total("in_hand") == 0, COUNTERS_S)

    def flood(self, link, frame, limited):
        """Sends a frame again and again, some thousand times, until the counter `limited` moves; some may be lost before the appliance gets
        them. Returns by how much each counter has moved."""
        for _ in range(FLOODS):
            link.flood([frame] * FLOOD)
            moved = self._quiet_counters().since(self.before)
            if moved[limited] > 0:
                break
        link.take_log()
        self.assertGreater(moved[limited], 0, f"{FLOODS} times {FLOOD} frames, and {limited} does not move")
        return moved

    def _quiet_counters(self):
        """The counters, once they have stopped to move for a while."""
        last, rest = None, 0
        for _ in range(250):
            now = self.bed.api.counters()
            is_quiet = last is not None and not any(value for name, value in now.since(last).items() if name not in FREE)
            rest = rest + 1 if is_quiet else 0
            if rest == 3 and now.total("in_hand") == 0:
                return now
            last = now
            time.sleep(0.01)
        raise AssertionError("the counters do not come to rest")

    def log_text(self):
        """What went over the links in this test, for one that fails."""
        rows = [(at, link.name, way, frame) for link in (self.bed.outside, self.bed.inside) for at, way, frame in link.take_log()]
        rows.sort()
        lines = [f"  {at - rows[0][0]:8.4f} {name} {way} {Ether(frame).summary()}" for at, name, way, frame in rows[-LOG_ROWS:]]
        return "\n".join(lines if len(rows) <= LOG_ROWS else ["  ...", *lines])


def is_v6(address):
    """Whether an address is one of IPv6."""
    return ":" in address


def socket_text(socket):
    """An address and a port as the API writes them."""
    return f"[{socket[0]}]:{socket[1]}" if is_v6(socket[0]) else f"{socket[0]}:{socket[1]}"


def ip(source, destination, **fields):
    """An IP header of the family of its addresses."""
    if is_v6(destination):
        return IPv6(src=source, dst=destination, **fields)
    return IP(src=source, dst=destination, **fields)


def translated(packet, source, destination):
    """What comes out for a packet: from `source` to `destination` (address, port), one hop later, everything else as it was. If these
    are of the other family, the header is another one (RFC 7915; S17.1)."""
    out = packet.copy()
    header = out.getlayer(IP) or out.getlayer(IPv6)
    if is_v6(destination[0]) == isinstance(header, IPv6):
        header.src, header.dst = source[0], destination[0]
        if isinstance(header, IPv6):
            header.hlim -= 1
        else:
            header.ttl -= 1
            del header.chksum
    elif is_v6(destination[0]):
        out = IPv6(src=source[0], dst=destination[0], tc=header.tos, hlim=header.ttl - 1, fl=0) / header.payload
    else:
        out = IP(src=source[0], dst=destination[0], tos=header.tc, ttl=header.hlim - 1, id=0, flags="DF") / header.payload
    ports = out.getlayer(TCP) or out.getlayer(UDP)
    ports.sport, ports.dport = source[1], destination[1]
    # No checksum in UDP stays none.
    if not (isinstance(ports, UDP) and ports.chksum == 0):
        del ports.chksum
    return out


def length_in_sequence(segment):
    """Sequence numbers that a segment takes."""
    tcp = segment[TCP]
    data = len(bytes(tcp.payload)) if tcp.payload else 0
    return data + ("S" in tcp.flags) + ("F" in tcp.flags)


def reset_for(segment):
    """The reset that answers a segment without a connection: RFC 9293 §3.10.7.1, with TTL 64 and no options."""
    tcp = segment[TCP]
    if "A" in tcp.flags:
        answer = TCP(flags="R", seq=tcp.ack, ack=0)
    else:
        answer = TCP(flags="RA", seq=0, ack=(tcp.seq + length_in_sequence(segment)) % 2**32)
    answer.sport, answer.dport, answer.window = tcp.dport, tcp.sport, 0
    header = segment.getlayer(IP) or segment.getlayer(IPv6)
    return ip(header.dst, header.src, **RESET_IP[isinstance(header, IPv6)]) / answer


def flipped(packet, at):
    """A packet with one bit of its bytes changed on the way, all checksums as they were."""
    damaged = bytearray(bytes(packet))
    damaged[at] ^= 0x10
    # Parsed again, all fields have the values that the bytes say, and nothing is computed anew.
    return type(packet)(bytes(damaged))
