"""The appliance, through its REST API: what is measured is configured, and taken away again; counters are read."""

import json
import urllib.error
import urllib.request

NAME = "nic-bench"
TIMEOUT_S = 30


class Refused(Exception):
    """An answer other than success."""


def requests(settings):
    """What is asked of the API to make the service: (path, body), in order."""
    groups = {"tcp": ("TCP", settings.tcp_port), "udp": ("UDP", settings.udp_port)}
    yield "load-balancers", {"name": NAME, "nodes": [{"zone": "zone-a", "address": settings.service}]}
    for suffix, (protocol, port) in groups.items():
        group = f"{NAME}-{suffix}"
        attributes = {}
        if protocol == "TCP":
            attributes["preserve_client_ip.enabled"] = "false"
            # Generators answer no health checks while they do not run. All targets are unhealthy then, and all are used.
            attributes["target_health_state.unhealthy.connection_termination.enabled"] = "false"
        yield "target-groups", {
            "name": group, "protocol": protocol, "port": port, "targetType": "ip",
            "healthCheck": {"protocol": "TCP", "port": settings.tcp_port, "intervalSeconds": 300},
            "attributes": attributes,
        }
        yield f"target-groups/{group}/targets", {"targets": [{"id": target} for target in settings.targets]}
        yield f"load-balancers/{NAME}/listeners", {"protocol": protocol, "port": port, "targetGroup": group}


class Appliance:
    """The API at an address."""

    def __init__(self, url, token):
        self._url, self._token = url.rstrip("/"), token

    def call(self, method, path, body=None):
        """The answer's body. Raises Refused for any status but success."""
        request = urllib.request.Request(
            f"{self._url}/v1/{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                text = reply.read()
        except urllib.error.HTTPError as error:
            raise Refused(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        except urllib.error.URLError as error:
            raise Refused(f"{self._url} does not answer: {error.reason}") from None
        return json.loads(text) if text else None

    def configure(self, settings):
        """Makes load balancer, groups, targets and listeners."""
        for path, body in requests(settings):
            self.call("POST", path, body)

    def clear(self):
        """Takes away what configure made."""
        self.call("DELETE", f"load-balancers/{NAME}")
        for suffix in ["tcp", "udp"]:
            self.call("DELETE", f"target-groups/{NAME}-{suffix}")

    def counters(self):
        """All counters, and drops by reason (as drop/REASON), summed over the lcores."""
        totals = self.call("GET", "stats")["totals"]
        return {**totals["counters"], **{f"drop/{name}": count for name, count in totals["drops"].items()}}


def moved(before, after):
    """By how much counters have moved, those that have."""
    return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
