"""A stub of TRex's stateless client: what the profile is made of, and a device that loses what is above a rate.

It has what `profiles/udp.py` and `trex_trials.py` use, with TRex's names and checks, and no more. Packets are scapy's, as TRex's are.
"""

from scapy.layers.inet import IP, UDP  # noqa: F401 (part of TRex's interface)
from scapy.layers.l2 import Ether  # noqa: F401

# Packets per second that the device forwards, in all directions.
capacity = 5_000_000


def _record(class_name, *allowed):
    """A class that takes these keywords only."""

    def __init__(self, **given):
        unknown = set(given) - set(allowed)
        if unknown:
            raise TypeError(f"{class_name} has no {', '.join(sorted(unknown))}")
        for name in allowed:
            setattr(self, name, given.get(name))

    return type(class_name, (), {"__init__": __init__, "__doc__": f"TRex's {class_name}."})


STLVmFlowVar = _record("STLVmFlowVar", "name", "min_value", "max_value", "size", "op", "step")
STLVmWrFlowVar = _record("STLVmWrFlowVar", "fv_name", "pkt_offset", "offset_fixup", "is_big", "add_val")
STLVmFixIpv4 = _record("STLVmFixIpv4", "offset")
STLFlowStats = _record("STLFlowStats", "pg_id")
STLFlowLatencyStats = _record("STLFlowLatencyStats", "pg_id")
STLTXCont = _record("STLTXCont", "pps", "bps_L1", "bps_L2", "percentage")
STLStream = _record("STLStream", "name", "packet", "mode", "flow_stats", "isg", "enabled", "self_start")


class STLPktBuilder:
    """A packet and what is changed in each copy of it."""

    def __init__(self, pkt=None, vm=None):
        self.pkt, self.vm = pkt, vm or []
        written = {it.fv_name for it in self.vm if isinstance(it, STLVmWrFlowVar)}
        made = {it.name for it in self.vm if isinstance(it, STLVmFlowVar)}
        if written != made:
            raise ValueError(f"variables that are made ({made}) and written ({written}) differ")

    def get_pkt_len(self):
        """Bytes without FCS."""
        return len(self.pkt)


class STLClient:
    """A client of a TRex that is not there."""

    def __init__(self, server="127.0.0.1"):
        self.server, self.streams = server, {}

    def connect(self):
        """There is nothing to connect to."""

    def reset(self, ports=None):
        """No port has streams any more."""
        self.streams = {}

    def add_streams(self, streams, ports=None):
        """Adds streams to ports."""
        for port in ports:
            self.streams.setdefault(port, []).extend(streams)
        ids = [it.flow_stats.pg_id for it in self._all()]
        if len(ids) != len(set(ids)):
            raise ValueError(f"ids of statistics are there twice: {ids}")

    def _all(self):
        return [it for streams in self.streams.values() for it in streams]

    def clear_stats(self):
        """All counters are 0."""
        self.sent, self.passed = {}, {}

    def start(self, ports=None, mult="1", duration=-1, total=False, force=False):
        """Sends at once what would be sent in that time."""
        if not mult.endswith("pps"):
            raise ValueError(f"this stub knows rates in pps only, not {mult}")
        rate = float(mult[:-3])
        offered = {}
        for port in ports:
            flows = [it for it in self.streams[port] if isinstance(it.flow_stats, STLFlowStats)]
            shares = sum(it.mode.pps for it in flows)
            for it in flows:
                offered[it.flow_stats.pg_id] = rate * it.mode.pps / shares * duration
        passes = min(1.0, capacity * duration / sum(offered.values()))
        self.sent = {number: round(packets) for number, packets in offered.items()}
        self.passed = {number: int(packets * passes) for number, packets in self.sent.items()}

    def wait_on_traffic(self, ports=None, timeout=None, rx_delay_ms=None):
        """All has been sent."""

    def get_active_pgids(self):
        """Ids of statistics by kind."""
        kinds = {"flow_stats": STLFlowStats, "latency": STLFlowLatencyStats}
        return {kind: [it.flow_stats.pg_id for it in self._all() if isinstance(it.flow_stats, of)] for kind, of in kinds.items()}

    def get_pgid_stats(self, pgid_list):
        """What was counted."""
        latency = {"latency": {"average": 12.5, "total_max": 80, "histogram": {0: 500, 10: 490, 70: 10}}, "err_cntrs": {"dropped": 0}}
        return {
            "flow_stats": {it: {"tx_pkts": {"total": self.sent[it]}, "rx_pkts": {"total": self.passed[it]}}
                           for it in pgid_list if it in self.sent},
            "latency": {it: latency for it in self.get_active_pgids()["latency"] if it in pgid_list},
        }

    def disconnect(self):
        """There is nothing to disconnect from."""
