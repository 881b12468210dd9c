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


class Counters(dict):
    """Counters at one moment, as Api.counters gives them."""

    def total(self, name):
        """A counter that is nobody's."""
        return self.get((name, None), 0)

    def since(self, before):
        """By how much each name has moved, all that have it taken together. Whoever is not there any more does not count; who was not
        there, or was made anew, counts from 0."""
        moved = {}
        for (name, whose), value in self.items():
            earlier = before.get((name, whose), 0)
            moved[name] = moved.get(name, 0) + value - (earlier if earlier <= value else 0)
        return moved


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
        """Everything that is counted, by (name, whose): `forwarded_packets` and `drop.land` are nobody's (None), `listener.resets` a
        listener's, `target.packets_in` a target's; `in_hand` are the packets of which nothing is counted yet."""
        stats = self.get("/stats")
        totals = stats["totals"]
        counters = {(name, None): value for name, value in totals["counters"].items()}
        counters.update({(f"drop.{name}", None): value for name, value in totals["drops"].items()})
        counters["in_hand", None] = totals["conservation"]["difference"]
        for kind, rows in (("listener", stats["listeners"]), ("target", stats["targets"])):
            for row in rows:
                whose = tuple(str(row[key]) for key in row if key != "counters")
                counters.update({(f"{kind}.{name}", whose): value for name, value in row["counters"].items()})
        return Counters(counters)

    def flows(self, query):
        """The flows that a query of /flows finds."""
        answer = self.get(f"/flows?{query}")
        if not answer["complete"]:
            raise Refused(f"/flows?{query}: not complete")
        return answer["flows"]
