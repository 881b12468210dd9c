"""TCP connections in both addressing modes: semantics §2 to §4."""

from scapy.layers.inet import IP, TCP
from scapy.packet import Padding

import bed as beds
from case import WireCase, flipped, translated
from connection import MODULUS, OPTIONS, OPTIONS_ANSWER, Connection


class Opening:
    """§3: what SYNs do, in both modes."""

    listener = None
    listener_of_one = None

    def connection(self, **options):
        return Connection(self, self.listener, **options)

    # req: GEN-02, GEN-03, RT-07
    def test_handshake_and_data(self):
        """Everything but addresses and ports passes as it was."""
        connection = self.connection().open()
        self.assertEqual(connection.state(), "established")
        connection.client_says(b"GET / HTTP/1.0\r\n\r\n")
        connection.target_says(bytes(range(256)) * 5)
        connection.close()
        self.assertEqual(connection.state(), "time-wait")

    # req: GEN-03
    def test_sequence_numbers_wrap(self):
        """Both sequence spaces pass 2^32 in the first data."""
        connection = self.connection(isn=MODULUS - 3, isn_target=MODULUS - 1).open()
        self.assertEqual(connection.state(), "established")
        connection.client_says(b"0123456789")
        connection.target_says(b"abcdefghij")
        connection.close()
        self.assertEqual(connection.state(), "time-wait")

    # req: RT-01, RT-06
    def test_a_syn_sent_again_reaches_the_same_target(self):
        """S3: and from the same source port; the flow is one."""
        connection = self.connection()
        sent = connection.syn()
        for _ in range(3):
            connection.forwards_from_client(sent)
        self.assertEqual(connection.state(), "syn-sent")
        connection.from_target("SA", seq=connection.isn_target)
        connection.forwards_from_client(sent)
        connection.from_target("SA", seq=connection.isn_target)
        self.assertEqual(connection.state(), "syn-received")

    # req: RT-01
    def test_a_syn_with_another_isn_begins_anew(self):
        """S3: on a half-open flow. What the old target says then belongs to nothing."""
        old = self.connection()
        old.syn()
        for isn in range(old.isn + 1, old.isn + 64):
            new = self.connection(client=old.client, isn=isn)
            new.syn()
            self.count(flows_closed=1)
            if new.target != old.target:
                break
        self.assertNotEqual(new.target, old.target, "64 ISNs chose one target of four")
        old.resets_target(old.target_segment("SA", seq=old.isn_target, options=OPTIONS_ANSWER))
        new.from_target("SA", seq=new.isn_target)
        new.from_client("A")
        self.assertEqual(new.state(), "established")

    def test_only_the_exact_acknowledgement_completes_the_handshake(self):
        """S3.3: what acknowledges anything else is forwarded, and changes nothing."""
        connection = self.connection()
        connection.syn()
        connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        for wrong in (connection.isn_target, connection.isn_target + 2, 0):
            connection.from_client("A", ack=wrong)
            self.assertEqual(connection.state(), "syn-received")
        connection.from_client("A")
        self.assertEqual(connection.state(), "established")

    def test_a_syn_ack_for_another_syn_opens_nothing(self):
        """It is forwarded, for the client to judge."""
        connection = self.connection()
        connection.syn()
        connection.from_target("SA", seq=connection.isn_target, ack=connection.isn + 2)
        self.assertEqual(connection.state(), "syn-sent")

    def test_syn_ack_sent_again(self):
        """Before and after the handshake is complete."""
        connection = self.connection()
        connection.syn()
        for _ in range(3):
            connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        connection.from_client("A")
        connection.from_target("SA", seq=connection.isn_target, options=OPTIONS_ANSWER)
        connection.from_client("A")
        self.assertEqual(connection.state(), "established")
        connection.client_says(b"still here")

    def test_a_syn_on_an_established_flow_changes_nothing(self):
        """S3: its target answers it (RFC 5961 §4), whatever the ISN."""
        connection = self.connection().open()
        for isn in (connection.isn, connection.isn + 100_000, 5):
            connection.from_client("S", seq=isn, options=OPTIONS)
            connection.from_target("A")
        self.assertEqual(connection.state(), "established")
        connection.client_says(b"as before")

    def test_data_in_the_syn(self):
        """S3: TCP Fast Open (RFC 7413) passes; the SYN-ACK acknowledges the data, and the target answers at once."""
        connection = self.connection()
        cookie = [("MSS", 1460), (34, b"12345678")]
        sent = connection.client_segment("S", b"early", seq=connection.isn, options=cookie)
        connection.syn(sent)
        connection.next_client += 5
        connection.from_target("SA", seq=connection.isn_target)
        connection.from_target("PA", b"soon")
        connection.next_target += 4
        self.assertEqual(connection.state(), "syn-received")
        connection.from_client("A")
        self.assertEqual(connection.state(), "established")

    def test_data_with_the_acknowledgement(self):
        """The client's first data completes the handshake."""
        connection = self.connection()
        connection.syn()
        connection.from_target("SA", seq=connection.isn_target)
        connection.client_says(b"first")
        self.assertEqual(connection.state(), "established")

    def test_flags_that_are_never_right_on_a_flow(self):
        """S3: a SYN-ACK of the client, a SYN of the target: dropped, and nothing changes."""
        connection = self.connection()
        connection.syn()
        self.send(self.outside, connection.client_segment("SA", seq=connection.isn), connection.host.mac)
        self.send(self.inside, connection.target_segment("S"), connection.target_mac)
        self.count(drop="tcp_flags", times=2)
        connection.from_target("SA", seq=connection.isn_target)
        connection.from_client("A")
        self.send(self.outside, connection.client_segment("SA"), connection.host.mac)
        self.send(self.inside, connection.target_segment("S"), connection.target_mac)
        self.count(drop="tcp_flags", times=2)
        self.settle()
        self.assertEqual(connection.state(), "established")


class Life:
    """§4: what passes, and how connections end, in both modes."""

    listener = None

    def connection(self, **options):
        return Connection(self, self.listener, **options)

    def test_what_is_out_of_window_passes(self):
        """S4.4: the ends judge it."""
        connection = self.connection().open()
        connection.from_client("PA", b"far", seq=connection.next_client + 0x40000000)
        connection.from_target("PA", b"old", seq=connection.next_target - 0x10000000)
        connection.from_client("A", ack=connection.next_target + 0x30000000)
        self.assertEqual(connection.state(), "established")
        connection.client_says(b"as before")

    # req: IDL-03
    def test_keepalives_pass(self):
        """S4.3: without data, and with the byte of garbage of old implementations (RFC 1122 §4.2.3.6)."""
        connection = self.connection().open()
        connection.from_client("A", seq=connection.next_client - 1)
        connection.from_target("A")
        connection.from_target("A", b"\0", seq=connection.next_target - 1)
        connection.from_client("A")

    def test_flags_window_and_urgent_pointer_pass(self):
        """And options nobody here knows."""
        connection = self.connection().open()
        connection.from_client("PAUEC", b"urgent", urgptr=3, window=1234, reserved=5)
        connection.next_client += 6
        connection.from_target("AE", window=0, options=[(253, b"\x12\x34experiment"), ("NOP", None)])
        connection.from_target("PA", b"x", options=[("SAck", (connection.next_client + 10, connection.next_client + 20))])

    def test_padding_is_cut(self):
        """S18.4: what Ethernet adds to a short packet goes no further."""
        connection = self.connection().open()
        for sent, mac, link, out, source, destination, to in (
            (connection.client_segment("A"), connection.host.mac, self.outside, self.inside,
             connection.seen, connection.target, connection.target_mac),
            (connection.target_segment("PA", b"x"), connection.target_mac, self.inside, self.outside,
             connection.node, connection.client, connection.host.mac),
        ):  # fmt: skip
            link.send(self.frame(link, sent, mac) + bytes(Padding(b"\xff" * 19)))
            self.expect(out, translated(sent, source, destination), to)
            way = "in" if out is self.inside else "out"
            self.count(forwarded_packets=1, **{f"target__packets_{way}": 1, f"target__bytes_{way}": len(sent)})

    # req: GEN-02
    def test_a_wrong_checksum_stays_wrong(self):
        """S18.2: one bit of the payload is flipped on the way: the target can tell, and so can the client."""
        connection = self.connection().open()
        for link, out, segment, mac, source, destination, to in (
            (self.outside, self.inside, connection.client_segment("PA", b"payload"), connection.host.mac,
             connection.seen, connection.target, connection.target_mac),
            (self.inside, self.outside, connection.target_segment("PA", b"payload"), connection.target_mac,
             connection.node, connection.client, connection.host.mac),
        ):  # fmt: skip
            self.send(link, flipped(segment, -3), mac)
            self.expect(out, flipped(translated(segment, source, destination), -3), to)
            way = "in" if out is self.inside else "out"
            self.count(forwarded_packets=1, **{f"target__packets_{way}": 1, f"target__bytes_{way}": len(segment)})

    def test_the_target_closes_first(self):
        """S4: data goes on the other way, for as long as that side likes."""
        connection = self.connection().open()
        connection.from_target("FA")
        connection.next_target += 1
        connection.from_client("A")
        self.assertEqual(connection.state(), "half-closed")
        connection.client_says(b"I have not finished")
        connection.from_client("FA")
        connection.next_client += 1
        self.assertEqual(connection.state(), "half-closed", "a FIN counts when it is acknowledged (S4.2)")
        connection.from_target("A")
        self.assertEqual(connection.state(), "time-wait")
        self.count(flows_closed=1)

    def test_both_close_at_once(self):
        """RFC 9293 §3.5 case 2."""
        connection = self.connection().open()
        connection.from_client("FA")
        connection.from_target("FA")
        connection.next_client += 1
        connection.next_target += 1
        connection.from_client("A")
        self.assertEqual(connection.state(), "half-closed")
        connection.from_target("A")
        self.assertEqual(connection.state(), "time-wait")
        self.count(flows_closed=1)

    def test_a_fin_out_of_window_closes_nothing(self):
        """S4.2."""
        connection = self.connection().open()
        for distance in (0x40000000, -0x40000000, 0x7FFFFFFF):
            connection.from_client("FA", seq=connection.next_client + distance)
            connection.from_target("FA", seq=connection.next_target + distance)
            self.assertEqual(connection.state(), "established", f"a distance of {distance}")

    def test_what_is_sent_again_after_the_close(self):
        """S4: TIME_WAIT still translates."""
        connection = self.connection().open()
        connection.close()
        connection.from_target("FA", seq=connection.next_target - 1)
        connection.from_client("A")
        connection.from_client("FA", seq=connection.next_client - 1)
        connection.from_target("A")
        self.assertEqual(connection.state(), "time-wait")

    def test_an_old_syn_after_the_close(self):
        """S3: the same ISN: a duplicate, for the old target."""
        connection = self.connection().open()
        connection.close()
        connection.from_client("S", seq=connection.isn, options=OPTIONS)
        connection.from_target("A")
        self.assertEqual(connection.state(), "time-wait")

    def test_a_new_connection_after_the_close(self):
        """S3: another ISN from the same socket: a new flow, under full NAT from another source port."""
        old = self.connection().open()
        old.close()
        new = self.connection(client=old.client, isn=old.isn + 300_000, isn_target=0x33333333).open()
        if new.is_full_nat():
            self.assertNotEqual((new.seen, new.target), (old.seen, old.target))
            # The old source port rests: what the old target sends there belongs to nothing.
            old.resets_target(old.target_segment("FA", seq=old.next_target - 1))
            self.count(listener__resets=1)
        new.client_says(b"again")
        new.close()

    # req: MET-23
    def test_the_client_resets(self):
        """S4.1: the exact sequence number ends the flow; what is under way is still translated."""
        connection = self.connection().open()
        connection.from_client("R")
        self.count(client_resets=1, flows_closed=1)
        self.assertEqual(connection.state(), "reset")
        connection.from_target("PA", b"on its way")
        connection.from_client("R")
        self.count(client_resets=1)

    # req: MET-25
    def test_the_target_resets(self):
        """S4.1: anywhere in what is under way; each forwarded reset is counted (S5.6)."""
        connection = self.connection().open()
        connection.client_says(b"request")
        connection.from_target("PA", b"an answer that the client has not acknowledged")
        connection.from_target("RA", seq=connection.next_target + 10)
        self.count(target_resets=1, target__resets=1, flows_closed=1)
        self.assertEqual(connection.state(), "reset")
        connection.from_client("A")
        connection.from_target("R")
        self.count(target_resets=1, target__resets=1)

    def test_a_new_connection_after_a_reset(self):
        """S3: another ISN begins anew, the same one is for the old target."""
        old = self.connection().open()
        old.from_client("R")
        self.count(client_resets=1, flows_closed=1)
        old.from_client("S", seq=old.isn, options=OPTIONS)
        self.assertEqual(old.state(), "reset")
        new = self.connection(client=old.client, isn=old.isn + 300_000).open()
        self.assertEqual(new.state(), "established")
        if new.is_full_nat():
            self.assertNotEqual((new.seen, new.target), (old.seen, old.target))

    def test_a_reset_out_of_window_ends_nothing(self):
        """S4.1: it is forwarded, and the end challenges it (RFC 5961 §3)."""
        connection = self.connection().open()
        connection.from_client("R", seq=connection.next_client + 0x40000000)
        connection.from_client("R", seq=connection.next_client - 1)
        connection.from_target("R", seq=connection.next_target - 1)
        self.count(client_resets=2, target_resets=1, target__resets=1)
        self.assertEqual(connection.state(), "established")
        connection.client_says(b"as before")

    def test_the_target_refuses(self):
        """S4: a reset for the SYN ends the flow; one for something else does not."""
        connection = self.connection()
        connection.syn()
        connection.from_target("RA", seq=0, ack=connection.isn + 7)
        self.count(target_resets=1, target__resets=1)
        self.assertEqual(connection.state(), "syn-sent")
        connection.from_target("RA", seq=0, ack=connection.isn + 1)
        self.count(target_resets=1, target__resets=1, flows_closed=1)
        self.assertEqual(connection.state(), "reset")

    def test_the_client_gives_up_while_half_open(self):
        """S4: a reset with the sequence number after the SYN."""
        connection = self.connection()
        connection.syn()
        connection.from_client("R")
        self.count(client_resets=1, flows_closed=1)
        self.assertEqual(connection.state(), "reset")


class Ipv4:
    """What only IPv4 has, in both modes."""

    listener = None

    def connection(self, **options):
        return Connection(self, self.listener, **options)

    def test_ip_fields_pass(self):
        """S18.5: DSCP and ECN, the identification, the flag DF; the TTL is one less."""
        connection = self.connection().open()
        for fields in ({"tos": 0xBB, "id": 0xFFFF, "flags": "DF", "ttl": 255}, {"tos": 0x01, "id": 0, "flags": 0, "ttl": 2}):
            for segment, forwards in (
                (connection.client_segment("A"), connection.forwards_from_client),
                (connection.target_segment("A"), connection.forwards_from_target),
            ):
                for name, value in fields.items():
                    setattr(segment[IP], name, value)
                forwards(segment)

    def test_the_last_hop(self):
        """S12.5: a TTL of 1 does not allow another one."""
        connection = self.connection()
        segment = connection.client_segment("S", seq=connection.isn)
        segment[IP].ttl = 1
        self.send(self.outside, segment, connection.host.mac)
        self.count(drop="ttl_expired")
        connection.open()
        for ttl in (0, 1):
            for link, segment, mac in (
                (self.outside, connection.client_segment("A"), connection.host.mac),
                (self.inside, connection.target_segment("A"), connection.target_mac),
            ):
                segment[IP].ttl = ttl
                self.send(link, segment, mac)
                self.count(drop="ttl_expired")

    def test_a_segment_with_a_header_checksum_of_all_ones(self):
        """S18.1: the two zeros of one's complement: an identification for which the IPv4 checksum is 0 after the rewrite."""
        connection = self.connection().open()
        segment = connection.client_segment("A")
        out = translated(segment, connection.seen, connection.target)
        out[IP].id = 0
        missing = int.from_bytes(bytes(out)[10:12], "big")
        segment[IP].id = missing
        self.assertEqual(int.from_bytes(bytes(translated(segment, connection.seen, connection.target))[10:12], "big"), 0)
        connection.forwards_from_client(segment)


class OpeningFullNat(Opening, WireCase):
    """Targets see the node and a port of its range."""

    listener = beds.FULL_NAT


class OpeningKeep(Opening, WireCase):
    """Targets see the client."""

    listener = beds.KEEP


class LifeFullNat(Life, Ipv4, WireCase):
    """Targets see the node and a port of its range."""

    listener = beds.FULL_NAT


class LifeKeep(Life, Ipv4, WireCase):
    """Targets see the client."""

    listener = beds.KEEP


class SourcePorts(WireCase):
    """§9: the ports of full NAT."""

    # req: CIP-01, SEC-04
    def test_each_flow_to_a_target_has_a_port_of_its_own(self):
        """S9.1, S9.2, S9.3: of the node's range, and not one after the other."""
        ports = []
        for _ in range(100):
            connection = Connection(self, beds.ONE_FULL_NAT)
            connection.syn()
            ports.append(connection.seen[1])
        self.assertEqual(len(set(ports)), len(ports))
        neighbours = sum(abs(one - other) == 1 for one, other in zip(ports, ports[1:]))
        self.assertLess(neighbours, 5, "ports are given one after the other")

    def test_one_client_socket_at_two_listeners(self):
        """The flows have nothing to do with each other."""
        first = Connection(self, beds.FULL_NAT).open()
        second = Connection(self, beds.ONE_FULL_NAT, client=first.client).open()
        first.client_says(b"one")
        second.client_says(b"two")


class Conflicts(WireCase):
    """§12: clients' sockets that are at their targets already, and targets that are clients."""

    def refuse(self, connection, reason):
        """A SYN that is dropped for a reason that listeners count too."""
        self.send(connection.link, connection.client_segment("S", seq=connection.isn), connection.host.mac)
        self.count(drop=reason, listener__conflicts=1)

    # req: CIP-10
    def test_a_taken_socket_at_the_only_target(self):
        """S12.1: the second connection is refused without a word; the first is not harmed."""
        first = Connection(self, beds.ONE_KEEP).open()
        second = Connection(self, beds.ONE_KEEP_TOO, client=first.client)
        self.refuse(second, "tuple_conflict")
        self.refuse(second, "tuple_conflict")
        first.client_says(b"unharmed")

    # req: CIP-10
    def test_a_taken_socket_at_one_of_four_targets(self):
        """S12.1: another target is chosen."""
        for _ in range(12):
            first = Connection(self, beds.KEEP).open()
            second = Connection(self, beds.KEEP_TOO, client=first.client).open()
            self.assertNotEqual(first.target, second.target)
            first.client_says(b"one")
            second.client_says(b"two")

    def test_a_socket_that_is_over_is_taken_over(self):
        """S12.2: in TIME_WAIT, and after a reset."""
        first = Connection(self, beds.ONE_KEEP).open()
        first.close()
        second = Connection(self, beds.ONE_KEEP_TOO, client=first.client, isn=0x44444444).open()
        second.from_client("R")
        self.count(client_resets=1, flows_closed=1)
        third = Connection(self, beds.ONE_KEEP, client=first.client, isn=0x55555555).open()
        third.client_says(b"mine now")

    # req: CIP-11, TRB-08
    def test_a_target_that_is_its_own_client_by_its_address(self):
        """S12.3: it could never be answered."""
        host = beds.TARGETS[0]
        connection = Connection(self, beds.ONE_KEEP, host=host, link=self.inside)
        self.refuse(connection, "hairpin")

    # req: CIP-11
    def test_a_target_that_is_another_targets_client(self):
        """It works, when another one is chosen."""
        host, found = beds.TARGETS[0], 0
        for isn in range(0x60000000, 0x60000020):
            connection = Connection(self, beds.KEEP, host=host, link=self.inside, isn=isn)
            self.send(self.inside, connection.client_segment("S", seq=isn), host.mac)
            self.pace()
            if not self.inside.waiting():
                self.count(drop="hairpin", listener__conflicts=1)
                continue
            self.count(forwarded_packets=1, target__packets_in=1, target__bytes_in=40)
            self.count(flows_created=1, listener__new_flows=1, target__new_flows=1)
            found += 1
            # The SYN sent again shows where it went.
            connection.syn(connection.client_segment("S", seq=isn), count=False)
            self.assertNotEqual(connection.target[0], host.ip)
            connection.from_target("SA", seq=connection.isn_target)
            connection.from_client("A")
            connection.client_says(b"hello, neighbour")
            if found == 2:
                break
        self.assertEqual(found, 2)

    def test_a_target_that_is_its_own_client_under_full_nat(self):
        """S12.4: it works."""
        connection = Connection(self, beds.ONE_FULL_NAT, host=beds.TARGETS[0], link=self.inside).open()
        connection.client_says(b"talking to myself")
        connection.target_says(b"yes?")
        connection.close()


class Parsing(WireCase):
    """The suite itself: what it expects would not be met by what it sent."""

    def test_a_translated_segment_is_another_one(self):
        sent = IP(src="10.1.0.150", dst=beds.NODE) / TCP(sport=1, dport=2)
        out = translated(sent, ("10.1.0.10", 3), ("10.2.0.51", 4))
        self.assertNotEqual(bytes(out), bytes(sent))
        self.assertEqual((out[IP].ttl, out[TCP].sport, out[TCP].dport), (63, 3, 4))
