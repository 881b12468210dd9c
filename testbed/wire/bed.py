"""What the tests find: two links with hosts on them, and a load balancer with a listener for every kind of target group.

    clients  10.1.0.150 … ── p0  appliance  p1 ── targets  10.2.0.51 … .54
             fd00:1::150         node 10.1.0.10            fd00:2::51 … ::54
                                 nodes 10.1.0.20 and fd00:1::20 of a dualstack load balancer

None of these hosts has a kernel: the tests send and receive their every frame.
"""

import time

from api import Api
from hosts import HEALTH_PORT, Host, Hosts
from link import Link

NODE = "10.1.0.10"
# The two addresses of the dualstack load balancer (test_ipv6.py).
DUAL, DUAL_V6 = "10.1.0.20", "fd00:1::20"
NODES = (NODE, DUAL, DUAL_V6)
# Addresses of the appliance's own, on each side.
P0, P1 = "10.1.0.2", "10.2.0.2"

CLIENT = Host("02:c1:00:00:00:96", "10.1.0.150", "fd00:1::150")
# Sends and gets what orders the others' packets (see case.py); no test uses it.
PACER = Host("02:c1:00:00:00:fa", "10.1.0.250")
TARGETS = [Host(f"02:7a:00:00:00:{number:02x}", f"10.2.0.{number}", f"fd00:2::{number}") for number in range(51, 55)]
ABSENT = "10.2.0.99"
# MTU of each port: wire.rs makes that of the targets' side smaller.
OUTSIDE_MTU, INSIDE_MTU = 1500, 1400

# Listeners of TCP, by what they are for.
FULL_NAT, KEEP, KEEP_TOO, ONE_FULL_NAT, ONE_KEEP, ONE_KEEP_TOO, EMPTY, UNREACHABLE, EXHAUSTED = range(80, 89)
# Listeners of UDP.
UDP, UDP_ONE, UDP_ONE_TOO, UDP_EMPTY = range(53, 57)

# How long the appliance may take to find targets healthy, or to see that they are not: some rounds of checks.
HEALTH_S = 40


class Bed:
    """The links, the API, and what the tests need to know of the appliance."""

    def __init__(self, socket, clients, targets):
        self.api = Api(socket)
        self._publications = 0
        self.outside = Link("p0", *clients, Hosts([CLIENT, PACER]))
        self.inside = Link("p1", *targets, Hosts(TARGETS, are_checked=True))
        ports = {port["name"]: port["mac"] for port in self.api.get("/status")["dataPlane"]["ports"]}
        self.outside_mac, self.inside_mac = ports["p0"], ports["p1"]

    def configure(self):
        """Makes what every module uses, and waits until it works."""
        self.api.call("POST", "/load-balancers", {"name": "lb", "nodes": [{"zone": "zone-a", "address": NODE}]})
        all_targets = [host.ip for host in TARGETS]
        one = all_targets[:1]
        keep, full = {"preserve_client_ip.enabled": "true"}, {"preserve_client_ip.enabled": "false"}
        self.group("full-nat", "TCP", 8080, all_targets, [FULL_NAT], full)
        self.group("keep", "TCP", 8081, all_targets, [KEEP, KEEP_TOO], keep)
        self.group("one-full-nat", "TCP", 8082, one, [ONE_FULL_NAT], full)
        self.group("one-keep", "TCP", 8083, one, [ONE_KEEP, ONE_KEEP_TOO], keep)
        self.group("empty", "TCP", 8084, [], [EMPTY], full)
        self.group("unreachable", "TCP", 8085, [ABSENT], [UNREACHABLE], full)
        self.group("exhausted", "TCP", 8086, all_targets[1:2], [EXHAUSTED], full)
        self.group("udp", "UDP", 9000, all_targets, [UDP])
        self.group("udp-one", "UDP", 9001, one, [UDP_ONE, UDP_ONE_TOO])
        self.group("udp-empty", "UDP", 9002, [], [UDP_EMPTY])
        for name in ("full-nat", "keep", "one-full-nat", "one-keep", "exhausted", "udp", "udp-one"):
            self.wait_targets(name, "healthy")

    def group(self, name, protocol, port, targets, listeners, attributes=None, balancer="lb"):
        """A target group behind listeners of its own; what kind of address its targets have, the first one says."""
        check = {
            "protocol": "TCP",
            "port": HEALTH_PORT,
            "intervalSeconds": 5,
            "timeoutSeconds": 2,
            "healthyThresholdCount": 2,
            "unhealthyThresholdCount": 2,
        }
        body = {"name": name, "protocol": protocol, "port": port, "targetType": "ip", "healthCheck": check}
        if targets and ":" in targets[0]:
            body["ipAddressType"] = "ipv6"
        self.api.call("POST", "/target-groups", {**body, "attributes": attributes or {}})
        if targets:
            self.register(name, targets)
        for listener in listeners:
            body = {"protocol": protocol, "port": listener, "targetGroup": name}
            self.api.call("POST", f"/load-balancers/{balancer}/listeners", body)

    def register(self, group, targets):
        """Registers addresses, and waits until every lcore knows."""
        body = {"targets": [{"id": target} for target in targets]}
        self.api.call("POST", f"/target-groups/{group}/targets?wait=10", body)

    def deregister(self, group, targets):
        """Deregisters addresses, and waits until every lcore knows."""
        body = {"targets": [{"id": target} for target in targets]}
        self.api.call("POST", f"/target-groups/{group}/targets/deregister?wait=10", body)

    def attributes(self, group, attributes):
        """Sets attributes of a group and waits until every lcore works with them."""
        self.api.call("PATCH", f"/target-groups/{group}/attributes", {"attributes": attributes})
        self.wait("the new attributes", lambda: self.api.get("/status"), lambda it: it["appliedEpoch"] == it["epoch"])

    def wait_targets(self, group, state, targets=None):
        """Waits until the targets of a group, all or those named, are in a state."""

        def states():
            rows = self.api.get(f"/target-groups/{group}/targets")["targets"]
            return {row["id"]: row["health"]["state"] for row in rows}

        def are_there(seen):
            return bool(seen) and all(seen.get(target) == state for target in targets or seen)

        self.wait(f"{group} to be {state}", states, are_there)
        self.publish()

    def publish(self):
        """Waits until the data plane works with all that the control plane knows now: a change of no importance follows it."""
        self._publications += 1
        self.attributes("empty", {"deregistration_delay.timeout_seconds": str(self._publications % 3600)})

    @staticmethod
    def wait(what, probe, is_done, patience_s=HEALTH_S):
        """Asks until the answer is the right one, and returns it."""
        end = time.monotonic() + patience_s
        while True:
            seen = probe()
            if is_done(seen):
                return seen
            if time.monotonic() > end:
                raise AssertionError(f"waited {patience_s} s in vain for {what}; last seen: {seen}")
            time.sleep(0.05)
