"""Runs the bench with NICs: TRex or pktgen-DPDK on this server, the appliance on the other one. `scripts/bench-nic` starts it."""

import argparse
import os
import shlex
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Nothing is to be written into the source tree.
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import appliance as leat  # noqa: E402 (the path is set above)
import pktgen  # noqa: E402
import settings as bench_settings  # noqa: E402
import trex_trials  # noqa: E402
from cases import Bench  # noqa: E402
from profiles_path import load_profile  # noqa: E402
from report import Report, table  # noqa: E402

STATELESS = ["throughput", "burst"]
STATEFUL = ["connections", "concurrent", "http"]
CASES = [*STATELESS, *STATEFUL, "pktgen"]


def arguments(given):
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench-nic", description=__doc__.splitlines()[0])
    parser.add_argument("--settings", default=os.path.join(HERE, "bench.toml"), help="TOML file; testbed/nic/bench.toml is an example")
    parser.add_argument("--only", default=",".join(CASES[:-1]), help=f"cases, of {','.join(CASES)}")
    parser.add_argument("--frames", default=",".join(bench_settings.FRAMES), help="frame sizes with FCS, and imix")
    parser.add_argument("--out", default="nic-results", help="directory for figures, plots and logs")
    parser.add_argument("--dry-run", action="store_true",
                        help="go through everything with stubs of the generators; print what would be run and asked for")
    parsed = parser.parse_args(given)
    parsed.only, parsed.frames = parsed.only.split(","), parsed.frames.split(",")
    for value in parsed.only:
        if value not in CASES:
            parser.error(f"there is no case {value}; there are {', '.join(CASES)}")
    for value in parsed.frames:
        if value not in bench_settings.FRAMES:
            parser.error(f"frames are {', '.join(bench_settings.FRAMES)}, not {value}")
    return parsed


class Generators:
    """TRex in each of its modes, started when it is wanted first, or a stub of it."""

    def __init__(self, settings, directory, dry):
        self._settings, self._directory, self._dry = settings, directory, dry
        self._server = self._client = None
        # A stub has done everything at once.
        self._pause = (lambda _: None) if dry else time.sleep
        if dry:
            sys.path.insert(0, os.path.join(HERE, "stubs"))

    def stateless(self):
        """TRex, stateless."""
        server = self._start(stateful=False)
        from trex.stl.api import STLClient
        self._client = server.connect(STLClient()) if server else STLClient()
        return trex_trials.Stateless(self._client, load_profile("udp"), self._settings)

    def stateful(self):
        """TRex, advanced stateful."""
        server = self._start(stateful=True)
        from trex.astf.api import ASTFClient
        self._client = server.connect(ASTFClient()) if server else ASTFClient()
        return trex_trials.Stateful(self._client, load_profile("tcp"), self._settings, self._pause)

    def _start(self, stateful):
        self.stop()
        print(f"in {self._settings.trex_directory}: {shlex.join(trex_trials.command(self._settings, stateful))}", flush=True)
        if self._dry:
            return None
        with open(os.path.join(self._directory, "trex.log"), "a", encoding="utf-8") as log:
            self._server = trex_trials.Server(self._settings, stateful, log)
        return self._server

    def stop(self):
        """Ends what runs."""
        if self._client:
            self._client.disconnect()
            self._client = None
        if self._server:
            self._server.stop()
            self._server = None


def measure(settings, options, report):
    """All cases that were asked for."""
    def save(name, text):
        with open(os.path.join(options.out, name), "w", encoding="utf-8") as file:
            file.write(text)

    bench = Bench(settings, report, options.frames, save)
    generators = Generators(settings, options.out, options.dry_run)
    try:
        for cases, start in [(STATELESS, generators.stateless), (STATEFUL, generators.stateful)]:
            wanted = [case for case in cases if case in options.only]
            generator = start() if wanted else None
            for case in wanted:
                getattr(bench, case)(generator)
    finally:
        generators.stop()
    if "pktgen" in options.only:
        with_pktgen(settings, options, report)


def with_pktgen(settings, options, report):
    """Throughput by pktgen's own search."""
    out = os.path.join(options.out, "pktgen.trials")
    frames = [frame for frame in options.frames if frame != "imix"]
    print(shlex.join(pktgen.command(settings)), flush=True)
    start = ["lua5.3", os.path.join(HERE, "stubs", "pktgen.lua"), pktgen.PROFILE] if options.dry_run else None
    for frame, trials in pktgen.run(settings, frames, out, start).items():
        best = pktgen.best(trials)
        report.add(f"nic/pktgen/udp/{frame}", best.real_rate if best else 0, "packet/s")


def with_appliance(settings, options, report):
    """Configures the appliance, measures, tells what it counted meanwhile, and takes the configuration away."""
    if options.dry_run or not settings.api:
        for path, body in leat.requests(settings):
            print(f"POST {settings.api or 'https://appliance'}/v1/{path} {body}")
        measure(settings, options, report)
        return
    api = leat.Appliance(settings.api, settings.token())
    api.configure(settings)
    try:
        before = api.counters()
        measure(settings, options, report)
        moved = leat.moved(before, api.counters())
        packets = moved.get("rx_packets", 0)
        if packets:
            report.add("nic/appliance/cycles", moved.get("busy_cycles", 0) / packets, "TSC ticks/packet")
        for name in sorted(moved):
            if name.startswith("drop/"):
                report.add(f"nic/appliance/{name}", moved[name], "packets")
    finally:
        api.clear()


def main():
    """Returns the exit status."""
    options = arguments(sys.argv[1:])
    try:
        settings = bench_settings.load(options.settings)
        if options.dry_run:
            settings.seconds = 1
            settings.device_macs = settings.device_macs or ["02:00:00:00:00:01", "02:00:00:00:00:02"]
        os.makedirs(options.out, exist_ok=True)
        with open(os.path.join(options.out, "figures.json"), "w", encoding="utf-8") as file:
            report = Report(file, "dry-run" if options.dry_run else settings.system)
            with_appliance(settings, options, report)
    except (bench_settings.Wrong, leat.Refused, trex_trials.Failed, OSError) as error:
        print(f"bench-nic: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench-nic: interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # TRex's errors are of several kinds; of others the place is of interest.
        if not type(error).__module__.startswith("trex"):
            raise
        print(f"bench-nic: TRex: {error}", file=sys.stderr)
        return 1
    print(table(report.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
