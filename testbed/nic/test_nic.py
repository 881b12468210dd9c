"""Tests of the bench with NICs, without TRex, pktgen or NICs: python3 -m unittest discover -s testbed/nic

The generators are stubs, which know only what the profiles use of the real ones' interfaces and refuse everything else.
"""

import contextlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(HERE, "stubs")]

import appliance  # noqa: E402 (the path is set above)
import pktgen  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import search  # noqa: E402
import settings as bench_settings  # noqa: E402
import trex_trials  # noqa: E402
from profiles_path import load_profile  # noqa: E402
from trex.astf import api as astf  # noqa: E402
from trex.stl import api as stl  # noqa: E402


def device(capacity):
    """Trials of a device that loses what is above its capacity."""
    return lambda rate: search.Trial(rate, round(rate * 10), round(min(rate, capacity) * 10), 10)


class Searches(unittest.TestCase):
    def test_the_highest_rate_is_below_the_capacity_and_near_it(self):
        for capacity in [1_234, 50_000, 4_999_999, 14_000_000]:
            best, _ = search.highest_rate(device(capacity), 14_880_952)
            self.assertLessEqual(best.rate, capacity)
            self.assertGreater(best.rate, capacity * 0.985)

    def test_a_device_that_takes_everything_needs_one_trial(self):
        best, trials = search.highest_rate(device(1e9), 1e6)
        self.assertEqual((best.rate, len(trials)), (1e6, 1))

    def test_no_rate_passes_where_all_is_lost_or_nothing_is_offered(self):
        for trial in [lambda rate: search.Trial(rate, 1000, 999, 1), lambda rate: search.Trial(rate, 0, 0, 1)]:
            best, trials = search.highest_rate(trial, 1e6)
            self.assertIsNone(best)
            self.assertLess(len(trials), 30)

    def test_failed_transactions_are_allowed_up_to_their_share(self):
        def trial(rate):
            return search.Trial(rate, 1_000_000, 1_000_000 - (10 if rate <= 500 else 11), 1)
        best, _ = search.highest_rate(trial, 1000, allowed=search.FAILED_SHARE)
        self.assertGreater(best.rate, 490)
        self.assertLessEqual(best.rate, 500)

    def test_the_loss_curve_ends_after_two_rates_without_loss(self):
        rates = [it.rate for it in search.loss_curve(device(65), 100)]
        self.assertEqual(rates, [100, 90, 80, 70, 60, 50])

    def test_the_longest_burst(self):
        longest = search.longest_burst(lambda n: search.Trial(1e6, n, min(n, 4_321), 1), 1_000_000)
        self.assertTrue(4_270 <= longest <= 4_321, longest)


class Datagrams(unittest.TestCase):
    def setUp(self):
        self.settings = bench_settings.Settings(flows=100_000)
        self.udp = load_profile("udp")

    def test_frames_have_their_size_with_fcs(self):
        for frame in ["64", "128", "1518"]:
            (stream,) = self.udp.streams(self.settings, frame)
            self.assertEqual(stream.packet.get_pkt_len() + 4, int(frame))

    def test_imix_is_seven_to_four_to_one(self):
        streams = self.udp.streams(self.settings, "imix")
        self.assertEqual([(it.packet.get_pkt_len() + 4, it.mode.pps) for it in streams], [(64, 7), (570, 4), (1518, 1)])

    def test_there_are_as_many_flows_as_asked_for_and_few_more(self):
        for flows in [1, 65_534, 65_535, 100_000, 10_000_000]:
            self.settings.flows = flows
            variables = {it.name: it for it in self.udp.variables(self.settings, 0) if isinstance(it, stl.STLVmFlowVar)}
            ports = variables["port"].max_value - variables["port"].min_value + 1
            first, last = (int(bench_settings.ipaddress.IPv4Address(getattr(variables["client"], it))) for it in ("min_value", "max_value"))
            made = (last - first + 1) * ports
            self.assertTrue(flows <= made < flows + 65_535, (flows, made))

    def test_the_way_back_has_the_ends_changed(self):
        there, back = (self.udp.streams(self.settings, "64", direction)[0] for direction in (0, 1))
        self.assertEqual(there.packet.pkt[stl.IP].dst, self.settings.service)
        self.assertEqual(back.packet.pkt[stl.IP].src, self.settings.targets[0])
        self.assertEqual(there.packet.pkt[stl.UDP].dport, back.packet.pkt[stl.UDP].sport)
        offsets = [[it.pkt_offset for it in stream.packet.vm if isinstance(it, stl.STLVmWrFlowVar)] for stream in (there, back)]
        self.assertEqual(offsets, [["IP.src", "UDP.sport"], ["IP.dst", "UDP.dport"]])

    def test_several_targets_leave_no_way_back(self):
        self.settings.targets = ["10.18.1.1", "10.18.1.2"]
        self.assertEqual(self.udp.directions(self.settings), [0])

    def test_trials_count_streams_of_both_directions(self):
        trials = trex_trials.Stateless(stl.STLClient(), self.udp, self.settings)
        trials.prepare("imix", latency=True)
        with mock.patch.object(stl, "capacity", 900_000):
            half = trials.trial(450_000, 2)
            double = trials.trial(1_800_000, 2)
        self.assertEqual((half.offered, half.lost_share), (900_000, 0))
        self.assertAlmostEqual(double.lost_share, 0.5, 3)
        self.assertEqual(trials.latency["latency"]["average"], 12.5)

    def test_percentiles_are_the_upper_end_of_their_part(self):
        histogram = {0: 500, 10: 489, 70: 10, 300: 1}
        self.assertEqual([trex_trials.percentile(histogram, it) for it in (0.5, 0.6, 0.99, 1.0)], [10, 20, 80, 400])

    def test_what_the_console_loads(self):
        self.assertEqual(len(self.udp.register().get_streams(["--frame", "imix"], direction=1)), 3)


class Connections(unittest.TestCase):
    def setUp(self):
        self.settings = bench_settings.Settings()
        self.tcp = load_profile("tcp")

    def test_both_sides_wait_for_just_what_the_other_one_sends(self):
        for size, requests, hold in [(64, 1, 0), (1 << 10, 10, 0), (64, 2, 30)]:
            client, server = (list(it.play()) for it in self.tcp.programs(size, requests, hold))
            for one, other in [(client, server), (server, client)]:
                sent = [step[1] for step in one if step[0] == "send"]
                self.assertEqual(sent, [step[1] for step in other if step[0] == "recv"])
                self.assertEqual(len(sent), requests)
            self.assertEqual(sum(step[1] for step in client if step[0] == "delay"), hold * 1e6)

    def test_answers_say_how_long_they_are(self):
        head, body = self.tcp.answer(1024).split(b"\r\n\r\n")
        self.assertEqual((int(re.search(rb"Content-Length: (\d+)", head)[1]), len(body)), (1024, 1024))

    def test_clients_connect_to_the_service(self):
        template = self.tcp.profile(self.settings).template
        self.assertEqual(template.client.ip_gen.dist_server.ip_range, [self.settings.service] * 2)
        self.assertEqual(template.client.port, self.settings.tcp_port)
        self.assertEqual(template.client.cps, 1)

    def test_trials(self):
        trials = trex_trials.Stateful(astf.ASTFClient(), self.tcp, self.settings, pause=lambda _: None)
        trials.prepare(requests=2, hold_s=5)
        with mock.patch.object(astf, "capacity", 1000):
            self.assertEqual(trials.trial(1000, 3).lost_share, 0)
            self.assertEqual(trials.most_open, 5000)
            self.assertEqual(trials.trial(2000, 3).lost_share, 0.5)

    def test_bytes_that_are_missing_are_failures(self):
        client = astf.ASTFClient()
        trials = trex_trials.Stateful(client, self.tcp, self.settings, pause=lambda _: None)
        trials.prepare()
        start = client.start

        def cut_off(**given):
            start(**given)
            client.counts["client"]["tcps_rcvbyte"] -= 1
        client.start = cut_off
        self.assertGreater(trials.trial(100, 10).lost_share, search.FAILED_SHARE)


    def test_what_trex_cannot_make_itself_is_told_as_its_own_limit(self):
        client = astf.ASTFClient()
        trials = trex_trials.Stateful(client, self.tcp, self.settings, pause=lambda _: None)
        trials.prepare()
        start = client.start

        def throttled(**given):
            start(**given)
            client.counts["client"]["err_c_nf_throttled"] = 5
        client.start = throttled
        self.assertEqual(trials.trial(100, 10).lost_share, 0.005)
        self.assertEqual(trials.own_limits, {"err_c_nf_throttled"})
        trials.prepare()
        self.assertEqual(trials.own_limits, set())


class Server(unittest.TestCase):
    def test_nothing_of_trex_stays(self):
        """TRex is started by a script that does not hand signals on; some children want to be asked twice."""
        with tempfile.TemporaryDirectory() as directory:
            script = os.path.join(directory, "t-rex-64")
            for trap in ["", "trap '' TERM; "]:
                with open(script, "w", encoding="utf-8") as file:
                    file.write(f"#!/bin/bash\nbash -c \"{trap}echo $$ >pid; sleep 60\"\n")
                os.chmod(script, 0o755)
                settings = bench_settings.Settings(trex_directory=directory)
                # Half a second instead of twenty.
                with mock.patch.object(trex_trials, "STOP_S", 0.5):
                    server = trex_trials.Server(settings, False, subprocess.DEVNULL)
                    group = server._process.pid
                    for _ in range(1000):
                        if os.path.exists(os.path.join(directory, "pid")):
                            break
                        time.sleep(0.01)
                    self.assertGreater(len(trex_trials.running(group)), 1)
                    server.stop()
                os.remove(os.path.join(directory, "pid"))
                self.assertEqual(trex_trials.running(group), [])


@unittest.skipUnless(shutil.which("lua5.3"), "no lua5.3: scripts/setup installs it")
class Pktgen(unittest.TestCase):
    def setUp(self):
        self.settings = bench_settings.Settings(seconds=2, device_macs=["02:00:00:00:00:01"])

    def test_the_profile_compiles(self):
        subprocess.run(["luac5.3", "-p", pktgen.PROFILE], check=True)

    def test_the_profile_finds_the_capacity(self):
        with tempfile.TemporaryDirectory() as directory, mock.patch.dict(os.environ, LEAT_STUB_CAPACITY="3000000"):
            trials = pktgen.run(self.settings, ["64", "1518"], os.path.join(directory, "trials"),
                                ["lua5.3", os.path.join(HERE, "stubs", "pktgen.lua"), pktgen.PROFILE])
        small, large = (pktgen.best(trials[frame]).rate for frame in ("64", "1518"))
        self.assertTrue(2_800_000 < small <= 3_000_000, small)
        self.assertAlmostEqual(large, self.settings.line_rate(1518), -1)

    def test_it_is_started_with_its_ports_and_the_profile(self):
        command = pktgen.command(self.settings)
        self.assertEqual(command[command.index("-m") + 1], self.settings.pktgen_ports)
        self.assertEqual(command[-2:], ["-f", pktgen.PROFILE])


class Settings(unittest.TestCase):
    def test_the_example_has_the_defaults_and_all_keys(self):
        path = os.path.join(HERE, "bench.toml")
        self.assertEqual(bench_settings.load(path), bench_settings.Settings())
        with open(path, encoding="utf-8") as file:
            named = set(re.findall(r"^(?:# )?(\w+) = ", file.read(), re.M))
        self.assertEqual(named, set(bench_settings.Settings.__dataclass_fields__))

    def test_what_cannot_be_is_refused(self):
        for wrong in [{"service": "here"}, {"clients": ["198.19.0.9", "198.19.0.1"]}, {"targets": []}, {"seconds": 0},
                      {"flows": 70_000, "clients": ["198.19.0.1", "198.19.0.1"]}]:
            with self.assertRaises(bench_settings.Wrong, msg=str(wrong)):
                bench_settings.Settings(**wrong).check()

    def test_the_line_rate_at_64_bytes_is_the_known_one(self):
        self.assertEqual(round(bench_settings.Settings().line_rate(64)), 14_880_952)


class Api(http.server.BaseHTTPRequestHandler):
    """Keeps what it is asked; deletes nothing that was not made."""

    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, self.headers["Authorization"], json.loads(body or "null")))
        answer = json.dumps({"totals": {"counters": {"rx_packets": 10 * len(self.seen)}, "drops": {"no_listener": 0}}}).encode()
        self.send_response(403 if self.headers["Authorization"] != "Bearer token" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_DELETE = do_POST

    def log_message(self, *_):
        """Says nothing."""


class Appliance(unittest.TestCase):
    def setUp(self):
        Api.seen = []
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def test_what_was_made_is_taken_away_also_after_a_failure(self):
        settings = bench_settings.Settings(api=self.url)
        options = run.arguments(["--only", "connections"])
        with mock.patch.dict(os.environ, LEAT_TOKEN="token"), mock.patch.object(run, "measure", side_effect=OSError("no")):
            with self.assertRaises(OSError):
                run.with_appliance(settings, options, report.Report(io.StringIO(), "leat"))
        made = [path for method, path, *_ in Api.seen if method == "POST"]
        self.assertEqual(len(made), 7)
        self.assertEqual([path for method, path, *_ in Api.seen if method == "DELETE"],
                         ["/v1/load-balancers/nic-bench", "/v1/target-groups/nic-bench-tcp", "/v1/target-groups/nic-bench-udp"])

    def test_a_wrong_token_is_told(self):
        with self.assertRaisesRegex(appliance.Refused, "403"):
            appliance.Appliance(self.url, "another").configure(bench_settings.Settings())

    def test_only_counters_that_moved_are_told(self):
        self.assertEqual(appliance.moved({"a": 1, "b": 2}, {"a": 1, "b": 5, "c": 7}), {"b": 3, "c": 7})

    @unittest.skipUnless(os.environ.get("LEAT_API") and os.environ.get("LEAT_TOKEN"), "no appliance: scripts/test api has one")
    def test_a_real_appliance_takes_it_twice_and_gives_it_back(self):
        api = appliance.Appliance(os.environ["LEAT_API"], os.environ["LEAT_TOKEN"])
        settings = bench_settings.Settings()
        api.configure(settings)
        api.configure(settings)
        names = [it["name"] for it in api.call("GET", "target-groups")["targetGroups"]]
        self.assertEqual(sorted(names), ["nic-bench-tcp", "nic-bench-udp"])
        api.clear()
        self.assertEqual(api.call("GET", "load-balancers")["loadBalancers"], [])
        self.assertEqual(api.call("GET", "target-groups")["targetGroups"], [])


class Runs(unittest.TestCase):
    def test_a_dry_run_measures_everything_and_starts_nothing(self):
        cases = [it for it in run.CASES if it != "pktgen" or shutil.which("lua5.3")]
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()) as output:
            arguments = ["run.py", "--dry-run", "--frames", "64,imix", "--only", ",".join(cases), "--out", directory]
            with mock.patch.object(sys, "argv", arguments), mock.patch.object(trex_trials, "Server", side_effect=AssertionError):
                self.assertEqual(run.main(), 0)
            with open(os.path.join(directory, "figures.json"), encoding="utf-8") as file:
                figures = [json.loads(line) for line in file]
            with open(os.path.join(directory, "loss.svg"), encoding="utf-8") as file:
                self.assertEqual(report.ElementTree.fromstring(file.read()).tag, "{http://www.w3.org/2000/svg}svg")
        self.assertIn("./t-rex-64 -i --cfg /etc/trex_cfg.yaml --no-key --iom 0 --astf -c 1", output.getvalue())
        values = {it["case"]: it["value"] for it in figures}
        self.assertTrue(4_900_000 < values["nic/throughput/udp/64"] <= 5_000_000)
        self.assertTrue(295_000 < values["nic/connections/tcp"] <= 300_000)
        self.assertEqual({it["system"] for it in figures}, {"dry-run"})

    def test_a_missing_trex_is_an_error_that_names_the_setting(self):
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stderr(io.StringIO()) as errors:
            with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(sys, "argv", ["run.py", "--out", directory]), \
                    mock.patch.object(run.bench_settings.Settings, "trex_directory", directory, create=True):
                self.assertEqual(run.main(), 1)
        self.assertIn("trex_directory", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
