"""TRex: its server as a process, and trials by its two Python clients (stateless, advanced stateful)."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from search import Trial

# How long TRex gets to start, and its ports to have a link.
START_S = 90
# How long it gets to end when it is asked, and when it is killed.
STOP_S = 20
# How long packets under way get to arrive (RFC 2544, 23).
DRAIN_S = 2
CLIENTS, TARGETS = 0, 1
# What TRex counts where it could not make a connection itself.
OWN_ERRORS = ["err_no_memory", "err_c_nf_throttled", "err_flow_overflow", "err_c_tuple_err"]


class Failed(Exception):
    """TRex did not do what it was told."""


def command(settings, stateful):
    """What starts TRex's server: without a screen, and without keys, as nobody sits there."""
    # Stateful, it wants more servers' addresses than it has threads, and there is one service: so one thread.
    return ["./t-rex-64", "-i", "--cfg", settings.trex_config, "--no-key", "--iom", "0"] + (["--astf", "-c", "1"] if stateful else [])


class Server:
    """A running TRex."""

    def __init__(self, settings, stateful, log):
        if not os.path.isfile(os.path.join(settings.trex_directory, "t-rex-64")):
            raise Failed(f"there is no t-rex-64 in {settings.trex_directory} (trex_directory)")
        # In a group of its own: what is started is a script, TRex itself a child of it, which signals to the script do not reach.
        self._process = subprocess.Popen(
            command(settings, stateful), cwd=settings.trex_directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True)
        # Its client library comes with it.
        sys.path.insert(0, os.path.join(settings.trex_directory, "automation/trex_control_plane/interactive"))

    def connect(self, client):
        """Connects a client as soon as the server lets it."""
        end = time.monotonic() + START_S
        while True:
            try:
                client.connect()
                return client
            except Exception as error:  # TRex's errors are of several kinds.
                if self._process.poll() is not None:
                    raise Failed(f"TRex has ended with status {self._process.returncode}; its log says why") from error
                if time.monotonic() > end:
                    raise Failed(f"TRex does not answer: {error}") from error
                time.sleep(1)

    def stop(self):
        """Ends it, and waits until nothing of it has the ports any more."""
        for wanted in [signal.SIGTERM, signal.SIGKILL]:
            end = time.monotonic() + STOP_S
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, wanted)
            while running(self._process.pid) and time.monotonic() < end:
                time.sleep(0.05)
        self._process.wait()


def running(group):
    """The processes of a group that have not ended."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            # Behind the name, which may have anything in it.
            state, _, its_group = file.read().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(process))
    return found


class Stateless:
    """Trials of UDP datagrams."""

    def __init__(self, client, profile, settings):
        self._client, self._profile, self._settings = client, profile, settings
        self._ports = profile.directions(settings)
        self.latency = None

    def prepare(self, frame, latency=False):
        """Loads the streams for frames of a size, or "imix"."""
        self._client.reset(ports=[CLIENTS, TARGETS])
        for direction in self._ports:
            self._client.add_streams(self._profile.streams(self._settings, frame, direction, latency), ports=[direction])
        self._with_latency = latency

    def trial(self, rate, seconds=None):
        """Offers so many packets per second, half of them in each direction if there are two."""
        seconds = seconds or self._settings.seconds
        self._client.clear_stats()
        self._client.start(ports=self._ports, mult=f"{rate / len(self._ports):.0f}pps", duration=seconds)
        # With the time after it in which packets under way are still counted.
        self._client.wait_on_traffic(ports=self._ports, rx_delay_ms=DRAIN_S * 1000)
        ids = self._client.get_active_pgids()
        stats = self._client.get_pgid_stats(ids["flow_stats"] + ids["latency"])
        # By streams, not by ports: health checks and ARP go over the ports, too.
        flows = [stats["flow_stats"][number] for number in ids["flow_stats"]]
        offered = sum(flow["tx_pkts"]["total"] for flow in flows)
        arrived = sum(flow["rx_pkts"]["total"] for flow in flows)
        if self._with_latency:
            self.latency = stats["latency"][self._profile.LATENCY_ID]
        return Trial(rate, offered, arrived, seconds)


def percentile(histogram, share):
    """The latency in µs that the share of packets does not exceed, from TRex's histogram ({lower end: packets}); its upper end, so that
    it is never told too small."""
    ends = sorted(histogram)
    wanted, seen = share * sum(histogram.values()), 0
    for end in ends:
        seen += histogram[end]
        if seen >= wanted:
            # Ten parts of each power of ten; the first one goes from 0 to 10.
            return end + (10 ** (len(str(end)) - 1) if end else 10)
    return 0


class Stateful:
    """Trials of TCP connections."""

    def __init__(self, client, profile, settings, pause=time.sleep):
        self._client, self._profile, self._settings, self._pause = client, profile, settings, pause
        # Of the last trial.
        self.bytes_received, self.most_open = 0, 0
        # What kept TRex itself from making connections, in any trial of what was prepared last.
        self.own_limits = set()

    def prepare(self, **what):
        """Loads the profile of connections of a kind."""
        self._client.reset()
        self.own_limits = set()
        self._client.load_profile(self._profile.profile(self._settings, **what))

    def trial(self, rate, seconds=None):
        """Offers so many connections per second. One has arrived if it was opened and closed, and all bytes came."""
        seconds = seconds or self._settings.seconds
        self._client.clear_stats()
        self._client.start(mult=max(1, round(rate)), duration=seconds)
        self.most_open = 0
        while self._client.is_traffic_active():
            self.most_open = max(self.most_open, self._count("client", "m_est_flows"))
            self._pause(0.2)
        self._client.wait_on_traffic()
        attempted = self._count("client", "tcps_connattempt")
        failed = sum(self._count("client", name) for name in ("tcps_conndrops", "tcps_drops"))
        if self._count("client", "tcps_sndbyte") != self._count("server", "tcps_rcvbyte") or (
                self._count("server", "tcps_sndbyte") != self._count("client", "tcps_rcvbyte")):
            # Something was cut off that nobody counted as dropped.
            failed = max(failed, attempted - self._count("client", "tcps_closed"), 1)
        own = {name: self._count("client", name) for name in OWN_ERRORS}
        self.own_limits |= {name for name, count in own.items() if count}
        failed = max(failed, sum(own.values()))
        self.bytes_received = self._count("client", "tcps_rcvbyte")
        return Trial(rate, attempted, max(0, attempted - failed), seconds)

    def _count(self, side, name):
        """A counter; TRex leaves out those that are 0."""
        return self._client.get_stats()["traffic"][side].get(name, 0)
