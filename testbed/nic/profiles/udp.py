"""TRex, stateless: UDP datagrams of many flows from clients to the service and, with one target, from the target back.

A UDP group of the appliance keeps the client's address, so what a target sends back is known beforehand: the same flows with
their ends changed. Towards several targets nobody here knows which flow went where, so there are only the clients' packets then.

For TRex's console: start -f udp.py -t frame=64 (or imix)
"""

import argparse
import os
import sys

from trex.stl.api import (
    IP,
    UDP,
    Ether,
    STLFlowLatencyStats,
    STLFlowStats,
    STLPktBuilder,
    STLStream,
    STLTXCont,
    STLVmFixIpv4,
    STLVmFlowVar,
    STLVmWrFlowVar,
)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import settings as bench_settings  # noqa: E402 (the path is set above)

FCS = 4
# Frames with FCS and how many of each, of twelve.
IMIX = [(64, 7), (570, 4), (1518, 1)]
# Datagrams per second that carry time stamps. They are a flow of their own.
LATENCY_RATE = 1_000
LATENCY_PORT = 1_023
# Ids of statistics: this and the following ones for each direction.
FIRST_ID = 10
LATENCY_ID = 5


def packet(settings, size, direction, vm=None, source_port=0):
    """A frame of so many bytes with FCS. Direction 0 goes from clients to the service, 1 from the target to clients."""
    ends = {"src": settings.clients[0], "dst": settings.service} if direction == 0 else {
        "src": settings.targets[0], "dst": settings.clients[0]}
    ports = {"sport": source_port, "dport": settings.udp_port}
    if direction == 1:
        ports = {"sport": ports["dport"], "dport": ports["sport"]}
    # A checksum that is right for none of the flows would be dropped; 0 says that there is none.
    frame = Ether() / IP(**ends) / UDP(**ports, chksum=0)
    return STLPktBuilder(pkt=frame / (b"x" * (size - FCS - len(frame))), vm=vm or [])


def variables(settings, direction):
    """What makes a packet one of many flows: the client's address goes on with each packet, its port is random."""
    first, last, first_port, last_port = bench_settings.flow_ranges(settings)
    end, port = ("src", "sport") if direction == 0 else ("dst", "dport")
    return [
        STLVmFlowVar(name="client", min_value=first, max_value=last, size=4, op="inc"),
        STLVmWrFlowVar(fv_name="client", pkt_offset=f"IP.{end}"),
        STLVmFlowVar(name="port", min_value=first_port, max_value=last_port, size=2, op="random"),
        STLVmWrFlowVar(fv_name="port", pkt_offset=f"UDP.{port}"),
        STLVmFixIpv4(offset="IP"),
    ]


def streams(settings, frame, direction=0, latency=False):
    """The streams of a direction, for frames of "64" bytes or another size, or "imix". Their rates are shares: 12 together."""
    parts = IMIX if frame == "imix" else [(int(frame), 12)]
    made = []
    for number, (size, share) in enumerate(parts):
        made.append(STLStream(
            name=f"udp-{direction}-{size}",
            packet=packet(settings, size, direction, variables(settings, direction)),
            flow_stats=STLFlowStats(pg_id=FIRST_ID * (direction + 1) + number),
            mode=STLTXCont(pps=share),
        ))
    if latency and direction == 0:
        size = max(parts[0][0], 64)
        made.append(STLStream(
            name="latency",
            packet=packet(settings, size, 0, source_port=LATENCY_PORT),
            flow_stats=STLFlowLatencyStats(pg_id=LATENCY_ID),
            mode=STLTXCont(pps=LATENCY_RATE),
        ))
    return made


def directions(settings):
    """The directions that can be sent in."""
    return [0, 1] if len(settings.targets) == 1 else [0]


class Profile:
    """What TRex's console loads."""

    def get_streams(self, tunables=(), direction=0, **_):
        """The streams of a direction, with the settings of the file that LEAT_BENCH names, or the defaults."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--frame", default="64", choices=bench_settings.FRAMES)
        frame = parser.parse_args(list(tunables)).frame
        path = os.environ.get("LEAT_BENCH")
        settings = bench_settings.load(path) if path else bench_settings.Settings()
        return streams(settings, frame, direction) if direction in directions(settings) else []


def register():
    """Called by TRex."""
    return Profile()
