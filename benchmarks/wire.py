"""Two network namespaces joined by a wire with a delay: what ranks on two hosts see of a network. Linux, as root.

Each namespace has a tun device. A process reads the packets of one and writes them to the other after the delay. It needs no
kernel module for delays (``tc netem``), which containers and small virtual machines often lack.
"""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import os
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
_LARGEST_PACKET = 65000


@dataclass(frozen=True)
class Node:
    """A place on the wire: how to start a command there, its address and its network interface."""

    namespace: str
    address: str
    interface: str = "wire0"

    @property
    def command(self) -> list[str]:
        """Return the words before a command that is to run there."""
        return ["ip", "netns", "exec", self.namespace]


def reason() -> str | None:
    """Return why there can be no wire on this machine, or None."""
    if not hasattr(os, "geteuid") or os.geteuid():
        return "network namespaces need root on Linux"
    if not os.path.exists("/dev/net/tun"):
        return "/dev/net/tun is missing: the kernel has no tun devices"
    probe = f"mixfast-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"ip netns add: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return None


@contextmanager
def wire(delay: float) -> Iterator[tuple[Node, Node]]:
    """Join two new namespaces by a wire on which each packet takes `delay` seconds in either direction."""
    nodes = tuple(Node(f"mixfast-{os.getpid()}-{end}", f"10.118.0.{end + 1}") for end in range(2))
    made = []
    relay = multiprocessing.get_context("spawn").Process(target=_relay, args=(nodes, delay), daemon=True)
    try:
        for node in nodes:
            _ip("netns", "add", node.namespace)
            made.append(node)
            _ip("-n", node.namespace, "link", "set", "lo", "up")
            _ip("-n", node.namespace, "tuntap", "add", "dev", node.interface, "mode", "tun")
            _ip("-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", node.interface)
            _ip("-n", node.namespace, "link", "set", node.interface, "mtu", str(_LARGEST_PACKET), "up")
        relay.start()
        yield nodes  # type: ignore[misc]
    finally:
        if relay.pid is not None:
            relay.terminate()
            relay.join()
        for node in made:
            _ip("netns", "del", node.namespace)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _relay(nodes: tuple[Node, Node], delay: float) -> None:
    devices = [_device(node) for node in nodes]
    threads = [
        threading.Thread(target=_forward, args=(devices[end], devices[1 - end], delay), daemon=True) for end in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _device(node: Node) -> int:
    """Open the tun device of a namespace; it can then be read outside of it."""
    namespace = os.open(f"/run/netns/{node.namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {node.namespace}")
    os.close(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH14x", node.interface.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def _forward(source: int, target: int, delay: float) -> None:
    waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def deliver() -> None:
        while True:
            due, packet = waiting.get()
            if (rest := due - time.monotonic()) > 0:
                time.sleep(rest)
            os.write(target, packet)

    threading.Thread(target=deliver, daemon=True).start()
    while True:
        packet = os.read(source, _LARGEST_PACKET + 100)
        waiting.put((time.monotonic() + delay, packet))
