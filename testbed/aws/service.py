"""A control plane of its own for tests with AWS's clients: leat-cp without a data plane, on loopback, in a directory of its own."""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.request

import boto3
from botocore.config import Config

REGION = "on-prem-1"
ACCOUNT = "123456789012"
# Long enough for a start on a busy machine.
START_SECONDS = 60

# What the tests take for granted of the network: two networks with two and one zones, and hosts in them.
INVENTORY = {
    "zones": [
        {"name": "zone-a"},
        {"name": "zone-b"},
        {"name": "zone-c", "constrained": True},
        {"name": "zone-d", "kind": "local-zone"},
    ],
    "networks": [
        {"id": "vpc-1", "cidrs": ["10.1.0.0/16", "fd00:1::/48"], "labels": {"Name": "main"}},
        {"id": "vpc-2", "cidrs": ["10.2.0.0/16"], "internetGateway": False},
    ],
    "subnets": [
        {"id": "subnet-a", "network": "vpc-1", "zone": "zone-a", "cidr": "10.1.1.0/24", "ipv6Cidr": "fd00:1:0:1::/64"},
        {"id": "subnet-b", "network": "vpc-1", "zone": "zone-b", "cidr": "10.1.2.0/24", "ipv6Cidr": "fd00:1:0:2::/64"},
        {"id": "subnet-c", "network": "vpc-1", "zone": "zone-c", "cidr": "10.1.3.0/24"},
        {"id": "subnet-d", "network": "vpc-1", "zone": "zone-d", "cidr": "10.1.4.0/24"},
        {"id": "subnet-v4", "network": "vpc-1", "zone": "zone-a", "cidr": "10.1.5.0/24"},
        {"id": "subnet-2", "network": "vpc-2", "zone": "zone-a", "cidr": "10.2.1.0/24"},
    ],
    "instances": [
        {"id": "i-1", "subnet": "subnet-a", "address": "10.1.1.21", "labels": {"app": "web"}},
        {"id": "i-2", "subnet": "subnet-b", "address": "10.1.2.22", "labels": {"app": "web"}},
        {"id": "i-stopped", "subnet": "subnet-a", "address": "10.1.1.23", "state": "stopped"},
        {"id": "i-other", "subnet": "subnet-2", "address": "10.2.1.24"},
        {"id": "i-old", "subnet": "subnet-a", "address": "10.1.1.25", "noClientIp": True},
    ],
    "staticAddresses": [{"id": "eipalloc-1", "address": "192.0.2.10"}, {"id": "eipalloc-2", "address": "192.0.2.11"}],
}


def free_port():
    """A port of the loopback address that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A running leat-cp. End it with stop()."""

    def __init__(self, *options):
        self.directory = tempfile.TemporaryDirectory(prefix="leat-aws-")
        self.options = options
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.secrets = {}
        self.process = None
        self.start()

    def start(self):
        """Starts leat-cp on its store, and waits until it answers."""
        log = os.path.join(self.directory.name, "log")
        command = [os.environ["LEAT_CP"], "--without-data-plane", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--store", os.path.join(self.directory.name, "leat.redb"), "--account", ACCOUNT, *self.options]
        with open(log, "ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"leat-cp did not start:\n{open(log, encoding='utf-8').read()}")
            time.sleep(0.05)
        if not self.secrets:
            # Written once, at the first start.
            credentials = os.path.join(self.directory.name, "leat.admin-credentials")
            self.secrets = dict(re.findall(r"(AWS_[A-Z_]+|LEAT_TOKEN)=(\S+)", open(credentials, encoding="utf-8").read()))

    def answers(self):
        """Whether somebody listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        """Ends leat-cp and forgets its store."""
        self.halt()
        self.directory.cleanup()

    def halt(self):
        """Ends leat-cp; start() goes on with its store."""
        self.process.terminate()
        self.process.wait(timeout=30)

    def rest(self, method, path, body=None):
        """A call of the REST API as the first user."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.endpoint + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.secrets['LEAT_TOKEN']}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def client(self, service):
        """A client of one of AWS's APIs, without retries: each answer counts."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.secrets["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.secrets["AWS_SECRET_ACCESS_KEY"],
            # The API is what is tested: nothing is refused on its behalf.
            config=Config(retries={"max_attempts": 0}, read_timeout=30, parameter_validation=False),
        )
