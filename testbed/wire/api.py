"""A client of the admin API over the control plane's Unix socket."""

import http.client
import json
import socket

TIMEOUT_S = 30


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Refused(Exception):
    """An answer other than success."""


class Api:
    """The API behind a Unix socket."""

    def __init__(self, path):
        self._path = path

    def call(self, method, path, body=None):
        """The answer's body. Raises Refused for any status but success."""
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, f"/v1{path}", None if body is None else json.dumps(body))
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if not 200 <= reply.status < 300:
            raise Refused(f"{method} {path}: {reply.status} {text.decode(errors='replace')}")
        return json.loads(text) if text else None

    def get(self, path):
        """GET."""
        return self.call("GET", path)

    def counters(self):
        """Everything that only grows, by one flat set of names: `forwarded_packets`, `drop.land`, `listener.resets` (the sum of all
        listeners), `target.packets_in` (the sum of all targets); and `in_hand`, the packets of which nothing is counted yet."""
        stats = self.get("/stats")
        flat = dict(stats["totals"]["counters"])
        flat["in_hand"] = stats["totals"]["conservation"]["difference"]
        flat.update({f"drop.{name}": value for name, value in stats["totals"]["drops"].items()})
        for kind in ("listener", "target"):
            for row in stats[f"{kind}s"]:
                for name, value in row["counters"].items():
                    flat[f"{kind}.{name}"] = flat.get(f"{kind}.{name}", 0) + value
        return flat

    def flows(self, query):
        """The flows that a query of /flows finds."""
        answer = self.get(f"/flows?{query}")
        if not answer["complete"]:
            raise Refused(f"/flows?{query}: not complete")
        return answer["flows"]
