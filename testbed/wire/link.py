"""One end of a veth pair in a network namespace: whole Ethernet frames out and in.

A thread reads what arrives. Hosts that live on the link answer their housekeeping themselves (see hosts.py); everything else waits in
order of arrival for the test that takes it.
"""

import collections
import ctypes
import os
import socket
import threading
import time

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 64 << 20

# How long a test waits for a frame. Only a frame that never comes takes so long.
PATIENCE_S = 5


def packet_socket(namespace, device):
    """A packet socket that belongs to another network namespace. Only the calling thread changes over, and comes back."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if libc.setns(descriptor, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {path}")
        finally:
            os.close(descriptor)

    home = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    kept = os.open(home, os.O_RDONLY)
    try:
        enter(f"/run/netns/{namespace}")
        try:
            # No protocol until it is bound: else it would hear the other devices for a moment.
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            raw.bind((device, ETH_P_ALL))
            return raw
        finally:
            enter(f"/proc/self/fd/{kept}")
    finally:
        os.close(kept)


class Link:
    """The hosts' end of a link to a port of the appliance."""

    def __init__(self, name, namespace, device, hosts):
        self.name = name
        self.hosts = hosts
        self.log = []
        self._socket = packet_socket(namespace, device)
        self._frames = collections.deque()
        self._arrived = threading.Condition()
        threading.Thread(target=self._read, name=name, daemon=True).start()

    def _read(self):
        while True:
            frame, origin = self._socket.recvfrom(65535)
            if origin[2] == socket.PACKET_OUTGOING:
                continue
            answers = self.hosts.answer(frame)
            if answers is not None:
                for answer in answers:
                    self._socket.send(answer)
                continue
            with self._arrived:
                self._frames.append(frame)
                self.log.append((time.monotonic(), "<-", frame))
                self._arrived.notify_all()

    def send(self, frame):
        """Sends a whole frame as it is."""
        with self._arrived:
            self.log.append((time.monotonic(), "->", frame))
        self._socket.send(frame)

    def flood(self, frames):
        """Sends many frames, as fast as it goes, and does not note them."""
        for frame in frames:
            self._socket.send(frame)

    def receive(self, patience_s=PATIENCE_S):
        """The next frame, or None if none comes."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._frames, patience_s)
            return self._frames.popleft() if self._frames else None

    def take(self, is_wanted, patience_s=PATIENCE_S):
        """The first frame that is wanted, now or later, whatever else is there; None if it does not come."""
        found = None

        def look():
            nonlocal found
            found = next((frame for frame in self._frames if is_wanted(frame)), None)
            return found is not None

        with self._arrived:
            if self._arrived.wait_for(look, patience_s):
                self._frames.remove(found)
            return found

    def waiting(self):
        """Takes away and returns what nobody has received."""
        with self._arrived:
            frames = list(self._frames)
            self._frames.clear()
            return frames

    def take_log(self):
        """Takes away and returns what was sent and what arrived: (time, direction, frame)."""
        with self._arrived:
            log, self.log = self.log, []
            return log
