"""What is measured, by what: each case makes trials with a generator and puts figures into the report."""

import search
from profiles_path import load_profile
from report import plot
from trex_trials import Failed, percentile

# Sizes of answers (RFC 9411, 7.3.3.2) and requests of a connection (7.3.3.2).
ANSWERS = [1 << 10, 2 << 10, 4 << 10, 16 << 10, 64 << 10]
REQUESTS = 10
# Seconds that concurrent connections last.
HOLD_S = 30
# Where searches begin, in connections per second.
MOST_CONNECTIONS = 2_000_000


class Bench:
    """One run: settings, the generator of each kind when it is wanted, the report, and where plots go."""

    def __init__(self, settings, report, frames, save):
        self.settings, self.report, self.frames, self.save = settings, report, frames, save

    def line_rate(self, frame, directions):
        """Packets per second that the links carry, in all directions."""
        sizes = load_profile("udp").IMIX if frame == "imix" else [(int(frame), 1)]
        mean = sum(size * share for size, share in sizes) / sum(share for _, share in sizes)
        return self.settings.line_rate(mean) * directions

    def throughput(self, stateless):
        """RFC 2544, 26.1 to 26.3: throughput, then latency at it and at half of it, then loss above it, for each frame size."""
        directions = len(load_profile("udp").directions(self.settings))
        curves = {}
        for frame in self.frames:
            most = self.line_rate(frame, directions)
            stateless.prepare(frame)
            # Flows are made before it counts.
            stateless.trial(most / 100, 5)
            best, _ = search.highest_rate(stateless.trial, most)
            if best is None:
                self.report.add(f"nic/throughput/udp/{frame}", 0, "packet/s", note="packets are lost at every rate")
                continue
            self.report.add(f"nic/throughput/udp/{frame}", best.real_rate, "packet/s", note=f"{directions} directions")
            curve = search.loss_curve(stateless.trial, most)
            curves[frame] = [(it.real_rate / 1e6, it.lost_share * 100) for it in curve]
            for it in curve:
                self.report.add(f"nic/loss/udp/{frame}/{it.rate / most:.0%}", it.lost_share * 100, "%")
            for share in [0.5, 1.0]:
                # For each of them anew: the longest latency is that since the streams were loaded.
                stateless.prepare(frame, latency=True)
                stateless.trial(best.rate * share)
                self.latency(frame, share, stateless.latency)
        if curves:
            self.save("loss.svg", plot("Loss by offered load", "million packets/s", "% lost", curves))

    def latency(self, frame, share, latency):
        """Latency at a share of the throughput, by TRex's own accounts."""
        case, histogram = f"nic/latency/udp/{frame}/{share:.0%}", latency["latency"]["histogram"]
        lost = latency["err_cntrs"]["dropped"]
        if not histogram:
            raise Failed(f"{case}: none of the packets with time stamps came back")
        # TRex's average is a moving one, of the trial's last seconds; RFC 2544 wants a mean, which TRex does not tell.
        for name, value in [("moving-average", latency["latency"]["average"]), ("longest", latency["latency"]["total_max"]),
                            ("p50", percentile(histogram, 0.5)), ("p99", percentile(histogram, 0.99))]:
            self.report.add(f"{case}/{name}", value, "us", **({"note": f"{lost} of these lost"} if lost else {}))

    def burst(self, stateless):
        """RFC 2544, 26.4: the longest burst at the line's rate without loss, as seconds of sending."""
        directions = len(load_profile("udp").directions(self.settings))
        for frame in self.frames:
            most = self.line_rate(frame, directions)
            stateless.prepare(frame)
            stateless.trial(most / 100, 5)
            packets = search.longest_burst(lambda packets: stateless.trial(most, packets / most), round(most * 2))
            self.report.add(f"nic/back-to-back/udp/{frame}", packets, "packets")

    def connections(self, stateful):
        """RFC 9411, 7.2: new connections per second with less than 0.001 % failed."""
        stateful.prepare()
        best, trials = search.highest_rate(stateful.trial, MOST_CONNECTIONS, 0.005, search.FAILED_SHARE)
        self.tell_best("nic/connections/tcp", stateful, best, trials)

    def concurrent(self, stateful):
        """RFC 9411, 7.5: connections at the same time, each of which asks at its beginning and at its end."""
        stateful.prepare(requests=2, hold_s=HOLD_S)
        best, trials = search.highest_rate(
            lambda rate: stateful.trial(rate, self.settings.seconds + HOLD_S), MOST_CONNECTIONS / 4, 0.01, search.FAILED_SHARE)
        if best is not None:
            # What was open at the best rate, not at the last one tried.
            stateful.trial(best.rate, self.settings.seconds + HOLD_S)
            self.report.add("nic/concurrent/tcp", stateful.most_open, "connections", **self.own_limits(stateful))
        else:
            self.tell_best("nic/concurrent/tcp", stateful, best, trials)

    def http(self, stateful):
        """RFC 9411, 7.3: throughput of answers, for each size of them."""
        for size in ANSWERS:
            stateful.prepare(size=size, requests=REQUESTS)
            most = self.settings.line_rate_gbit * 1e9 / 8 / (size * REQUESTS)
            best, trials = search.highest_rate(stateful.trial, most, 0.01, search.FAILED_SHARE)
            if best is None:
                self.tell_best(f"nic/http/{size}", stateful, best, trials)
                continue
            stateful.trial(best.rate)
            self.report.add(f"nic/http/{size}/throughput", stateful.bytes_received * 8 / best.seconds / 1e9, "Gbit/s")
            self.report.add(f"nic/http/{size}/requests", best.arrived * REQUESTS / best.seconds, "request/s")

    def own_limits(self, stateful, note=""):
        """A note; it says as well what kept TRex, not the device, from more."""
        if stateful.own_limits:
            own = ", ".join(sorted(stateful.own_limits))
            note += f"{'; ' if note else ''}THE GENERATOR'S LIMIT, not the device's: {own} (memory and dp_flows in its configuration)"
        return {"note": note} if note else {}

    def tell_best(self, case, stateful, best, trials):
        """The rate of the best trial, with how many failed; or that there is none."""
        if best is None:
            if all(it.offered == 0 for it in trials):
                raise Failed(f"{case}: nothing was offered at any rate; see the generator's log")
            note = f"{trials[-1].lost_share:.3%} failed at the lowest rate tried"
            self.report.add(case, 0, "connection/s", **self.own_limits(stateful, note))
        else:
            self.report.add(case, best.real_rate, "connection/s", **self.own_limits(stateful, f"{best.lost_share:.4%} failed"))
