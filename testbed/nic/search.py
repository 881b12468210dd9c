"""Searches and criteria of RFC 2544 and RFC 9411, whatever generator makes the trials.

A trial offers packets or connections at a rate for a while and tells what came of them.
"""

from dataclasses import dataclass

# RFC 9411 (7.x.3.4): failed transactions are less than 0.001 % of all that were attempted.
FAILED_SHARE = 0.00001


@dataclass
class Trial:
    """What came of offering something at a rate."""

    # Packets or connections per second that were asked for, on all ports together.
    rate: float
    # What was really offered, and what arrived or succeeded.
    offered: int
    arrived: int
    seconds: float

    @property
    def lost_share(self):
        """The share that was lost or failed; all of it if nothing could be offered."""
        return 1.0 if self.offered == 0 else max(0, self.offered - self.arrived) / self.offered

    @property
    def real_rate(self):
        """Offered per second, which is less than what was asked for if the generator or the link could not do more."""
        return self.offered / self.seconds


def highest_rate(trial, maximum, resolution=0.01, allowed=0.0):
    """The trial at the highest rate at which no more than the share `allowed` is lost (RFC 2544, 26.1), and all trials.

    Halves the interval until it is no longer than `resolution` of its upper end. Returns None for the first if no rate passes, down
    to a ten-thousandth of the maximum.
    """
    trials, best = [], None
    low, high = 0.0, maximum
    rate = maximum
    while True:
        result = trial(rate)
        trials.append(result)
        if result.lost_share <= allowed:
            low, best = rate, result
            if rate == maximum:
                break
        else:
            high = rate
        if high - low <= resolution * high or (best is None and high <= maximum / 10_000):
            break
        rate = (low + high) / 2
    return best, trials


def loss_curve(trial, maximum, steps=10):
    """Trials at falling rates, until two in a row lose nothing (RFC 2544, 26.3)."""
    trials = []
    for step in range(steps, 0, -1):
        trials.append(trial(maximum * step / steps))
        if len(trials) > 1 and trials[-1].lost_share == trials[-2].lost_share == 0:
            break
    return trials


def longest_burst(burst, maximum, resolution=0.01):
    """The longest burst at full rate of which nothing is lost (RFC 2544, 26.4): `burst(packets)` gives a Trial. 0 if there is none."""
    low, high, packets = 0, maximum, maximum
    while True:
        if burst(packets).lost_share == 0:
            low = packets
            if packets == maximum:
                return maximum
        else:
            high = packets
        if high - low <= max(1, int(resolution * high)):
            return low
        packets = (low + high) // 2
