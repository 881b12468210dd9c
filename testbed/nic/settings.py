"""The bench's settings: a TOML file with what the two servers are like. `bench.toml` is an example with all keys."""

import ipaddress
import os
import tomllib
from dataclasses import dataclass, field

FRAMES = ["64", "128", "256", "512", "1024", "1280", "1518", "imix"]


class Wrong(Exception):
    """A setting that cannot be."""


@dataclass
class Settings:
    """All settings; addresses are those of docs/benchmarking.md unless given."""

    # The appliance's REST API; without it the device is configured by hand, and nothing is read from it.
    api: str = ""
    # The environment variable that has the token.
    token_variable: str = "LEAT_TOKEN"
    # Name of the device in figures.
    system: str = "leat"
    # What clients send to: the address of the load balancer's node.
    service: str = "198.18.0.1"
    tcp_port: int = 80
    udp_port: int = 7
    # First and last address of clients. The appliance has a route to them by the generator.
    clients: list = field(default_factory=lambda: ["198.19.0.1", "198.19.255.254"])
    # Targets, which are addresses behind the generator's second port; private ones, or in the subnet of a port.
    targets: list = field(default_factory=lambda: ["10.18.1.1"])
    # The routers to clients and to targets, with prefix length: the addresses of pktgen's two ports (TRex has its own configuration).
    routers: list = field(default_factory=lambda: ["198.18.0.254/24", "198.18.254.254/24"])
    flows: int = 100_000
    # MAC addresses of the appliance's ports, towards clients and towards targets: leat status shows them.
    device_macs: list = field(default_factory=list)
    # Packets per second and direction that the link carries at 64 bytes, to begin with; 14.88 million at 10 Gbit/s.
    line_rate_gbit: float = 10.0
    # Seconds of each trial. RFC 2544 has 60, and 2 at least in a search.
    seconds: int = 60
    # Where TRex and pktgen are, and how they are started.
    trex_directory: str = "/opt/trex"
    trex_config: str = "/etc/trex_cfg.yaml"
    pktgen: str = "pktgen"
    pktgen_eal: list = field(default_factory=lambda: ["-l", "1-5", "-n", "4"])
    pktgen_ports: str = "[2:3].0,[4:5].1"

    @property
    def client_addresses(self):
        """How many addresses clients have."""
        first, last = (int(ipaddress.IPv4Address(it)) for it in self.clients)
        return last - first + 1

    def line_rate(self, frame):
        """Frames of so many bytes with FCS per second and direction: 20 more go for preamble and gap."""
        return self.line_rate_gbit * 1e9 / ((frame + 20) * 8)

    def token(self):
        """The API's token."""
        token = os.environ.get(self.token_variable)
        if not token:
            raise Wrong(f"the environment has no {self.token_variable}: a token of the appliance, from `leat user create`")
        return token

    def check(self):
        """Raises Wrong if something does not go together."""
        try:
            for address in [self.service, *self.clients, *self.targets]:
                ipaddress.IPv4Address(address)
            for router in self.routers:
                ipaddress.IPv4Interface(router)
        except ValueError as error:
            raise Wrong(str(error)) from None
        if len(self.clients) != 2 or self.client_addresses < 1:
            raise Wrong("clients: the first and the last address")
        if len(self.routers) != 2:
            raise Wrong("routers: that to clients and that to targets")
        if not self.targets:
            raise Wrong("targets: none")
        if not 1 <= self.flows <= self.client_addresses * (65_535 - 1_023):
            raise Wrong(f"flows: {self.flows} are more than {self.client_addresses} clients can have")
        if self.seconds < 1:
            raise Wrong("seconds: one at least")
        return self


def load(path):
    """Settings from a file."""
    with open(path, "rb") as file:
        values = tomllib.load(file)
    unknown = set(values) - set(Settings.__dataclass_fields__)
    if unknown:
        raise Wrong(f"{path}: there is no setting {', '.join(sorted(unknown))}")
    return Settings(**values).check()


def flow_ranges(settings):
    """Clients and source ports of each, as many as there are flows or a few more: (first address, last address, first port, last port)."""
    clients = min(settings.client_addresses, settings.flows)
    ports = -(-settings.flows // clients)
    first = ipaddress.IPv4Address(settings.clients[0])
    return str(first), str(first + clients - 1), 1_024, 1_023 + ports
