"""A stub of TRex's advanced stateful client: programs that are played, and a device that fails what is above a rate.

It has what `profiles/tcp.py` and `trex_trials.py` use, with TRex's names, and no more.
"""

# Connections per second that the device takes.
capacity = 300_000


class ASTFProgram:
    """What one side of a connection does."""

    def __init__(self):
        self.steps = []

    def send(self, data):
        """Sends bytes."""
        self.steps.append(("send", len(data)))

    def recv(self, count, clear=False):
        """Waits until so many bytes have come, since the last time that they were cleared."""
        self.steps.append(("recv", count, clear))

    def delay(self, microseconds):
        """Waits."""
        if not isinstance(microseconds, int):
            raise TypeError("a delay is a whole number of microseconds")
        self.steps.append(("delay", microseconds))

    def set_var(self, name, value):
        """Gives a variable a value."""
        self.steps.append(("set_var", name, value))

    def set_label(self, label):
        """A place to jump to."""
        if not label.endswith(":"):
            raise ValueError("a label ends with a colon")
        self.steps.append(("label", label))

    def jmp_nz(self, name, label):
        """Takes 1 from a variable, and jumps while it is not 0."""
        self.steps.append(("jmp_nz", name, label))

    def wait_for_peer_close(self):
        """Waits for the other side to close."""
        self.steps.append(("wait_close",))

    def play(self):
        """The steps one after the other, jumps done: ("send", bytes), ("recv", bytes), ("delay", µs), ("wait_close",)."""
        variables, at, received = {}, 0, 0
        while at < len(self.steps):
            kind, *values = self.steps[at]
            at += 1
            if kind == "set_var":
                variables[values[0]] = values[1]
            elif kind == "jmp_nz":
                variables[values[0]] -= 1
                if variables[values[0]]:
                    at = self.steps.index(("label", values[1]))
            elif kind == "recv":
                count, clear = values
                yield "recv", count - received
                received = 0 if clear else count
            elif kind != "label":
                yield (kind, *values)


class ASTFIPGenGlobal:
    """What is added to addresses for each pair of ports."""

    def __init__(self, ip_offset="1.0.0.0"):
        self.ip_offset = ip_offset


class ASTFIPGenDist:
    """Addresses."""

    def __init__(self, ip_range, distribution="seq"):
        if len(ip_range) != 2 or distribution not in ("seq", "rand"):
            raise ValueError("a range has two ends, and addresses are taken in sequence or at random")
        self.ip_range = ip_range


class ASTFIPGen:
    """Clients' and servers' addresses."""

    def __init__(self, glob=None, dist_client=None, dist_server=None):
        self.glob, self.dist_client, self.dist_server = glob, dist_client, dist_server


class ASTFAssociationRule:
    """Which connections are a server template's."""

    def __init__(self, port=80, ip_start=None, ip_end=None):
        self.port = port


class ASTFTCPClientTemplate:
    """Clients."""

    def __init__(self, program, ip_gen, port=80, cps=1, limit=None):
        self.program, self.ip_gen, self.port, self.cps = program, ip_gen, port, cps


class ASTFTCPServerTemplate:
    """Servers."""

    def __init__(self, program, assoc=None):
        self.program, self.assoc = program, assoc or ASTFAssociationRule()


class ASTFTemplate:
    """Clients and their servers."""

    def __init__(self, client_template, server_template):
        if client_template.port != server_template.assoc.port:
            raise ValueError("clients connect to a port that no server has")
        self.client, self.server = client_template, server_template


class ASTFProfile:
    """All templates."""

    def __init__(self, default_ip_gen, templates=None):
        self.template = templates


class ASTFClient:
    """A client of a TRex that is not there."""

    def __init__(self, server="127.0.0.1"):
        self.server, self.profile, self.counts = server, None, {}

    def connect(self):
        """There is nothing to connect to."""

    def reset(self):
        """There is no profile any more."""
        self.profile = None

    def load_profile(self, profile):
        """Takes a profile."""
        if not isinstance(profile, ASTFProfile):
            raise TypeError("not a profile")
        self.profile = profile

    def clear_stats(self):
        """All counters are 0."""
        self.counts = {"client": {}, "server": {}}

    def start(self, mult=1, duration=-1):
        """Does at once what would be done in that time."""
        template = self.profile.template
        rate = mult * template.client.cps
        attempted, taken = round(rate * duration), round(min(rate, capacity) * duration)
        for side, other, program in [("client", "server", template.client.program), ("server", "client", template.server.program)]:
            sent = sum(step[1] for step in program.play() if step[0] == "send") * taken
            self.counts[side]["tcps_sndbyte"] = sent
            self.counts[other]["tcps_rcvbyte"] = sent
        held = sum(step[1] for step in template.client.program.play() if step[0] == "delay") / 1e6
        self.counts["client"].update(
            tcps_connattempt=attempted, tcps_closed=taken, tcps_conndrops=attempted - taken, m_est_flows=round(min(rate, capacity) * held))
        self._looks = 2

    def is_traffic_active(self):
        """True for the first look after a start."""
        self._looks -= 1
        return self._looks > 0

    def wait_on_traffic(self, timeout=None):
        """All has been done."""

    def get_stats(self):
        """What was counted; what is 0 is left out."""
        return {"traffic": {side: {name: it for name, it in counts.items() if it} for side, counts in self.counts.items()}}

    def disconnect(self):
        """There is nothing to disconnect from."""
