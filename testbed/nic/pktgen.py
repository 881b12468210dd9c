"""pktgen-DPDK: started with the Lua profile, which does the search by itself and writes its trials to a file."""

import json
import os
import subprocess

from search import Trial
from settings import Wrong, flow_ranges

HERE = os.path.dirname(os.path.abspath(__file__))
PROFILE = os.path.join(HERE, "profiles", "throughput.lua")


def command(settings):
    """What starts pktgen."""
    return [settings.pktgen, *settings.pktgen_eal, "--", "-P", "-m", settings.pktgen_ports, "-f", PROFILE]


def environment(settings, frames, out):
    """What the profile is told."""
    if not settings.device_macs:
        raise Wrong("device_macs: pktgen cannot ask for the MAC address of the appliance's port")
    first, last, first_port, last_port = flow_ranges(settings)
    values = {
        "FRAMES": " ".join(frames), "SECONDS": settings.seconds, "RESOLUTION": 1, "LINE_RATE": settings.line_rate_gbit,
        "DEVICE_MAC": settings.device_macs[0], "CLIENT_FIRST": first, "CLIENT_LAST": last, "PORT_FIRST": first_port,
        "PORT_LAST": last_port, "SERVICE": settings.service, "SERVICE_PORT": settings.udp_port, "OUT": out,
        "ROUTERS": " ".join(settings.routers),
    }
    return {f"LEAT_{name}": str(value) for name, value in values.items()}


def run(settings, frames, out, start=None):
    """Runs pktgen to its end. Returns the trials of each frame size."""
    start = start or command(settings)
    # Its screen is drawn on the terminal.
    subprocess.run(start, env={**os.environ, **environment(settings, frames, out)}, check=True)
    return read(out)


def read(path):
    """Trials by frame size, from the file that the profile wrote."""
    trials = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            values = json.loads(line)
            trials.setdefault(str(values.pop("frame")), []).append(Trial(**values))
    return trials


def best(trials):
    """The trial at the highest rate of which nothing was lost, or None. The first one only makes the flows."""
    return max((it for it in trials[1:] if it.offered and it.lost_share == 0), key=lambda it: it.rate, default=None)
