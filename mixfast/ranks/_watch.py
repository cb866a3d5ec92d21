"""Notice a rank that has ended, and say which one it was.

A collective operation that fails does not say whose fault it was, and on some ranks it does not fail but waits. So every rank keeps one
connection to rank 0, over which nothing crosses while all is well. The system closes it when a process ends, for whatever reason, and
probes it, so that a machine without power or network is noticed within `_SILENCE` seconds.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import struct
import weakref
from contextlib import suppress
from threading import Event, Thread
from typing import NamedTuple

from mixfast.ranks._hand import Alarm, Events
from mixfast.ranks._protocol import Ranks

# Seconds without a sign of life from a machine, after which it counts as lost: probes begin after `_PROBE` seconds and repeat.
_SILENCE, _PROBE = 20, 5
# Seconds in which one address of rank 0 must answer.
_CONNECT = 3.0
_TICK = 1.0
# Bytes of the exchanges in which the connections are made: addresses of rank 0, and the names of all processes.
_CARD, _NAME = 2048, 256
_MOST_ADDRESSES = 8
_HELLO = struct.Struct("<32sI")
_LENGTH = struct.Struct("<Q")


class Gone(NamedTuple):
    """Why a rank does not take part any more."""

    why: str
    by_signal: bool


class Watch:
    """The connections of this rank: on rank 0 to all others, elsewhere to rank 0.

    Attributes
    ----------
    gone : dict of int to Gone
        Ranks that have ended, in the order in which that was noticed.
    last_word : bytes or None
        What rank 0 has sent to end the work without a collective operation.
    """

    def __init__(self, ranks: Ranks, events: Events) -> None:
        self.gone: dict[int, Gone] = {}
        self.last_word: bytes | None = None
        self._rank, self._events = ranks.rank, events
        self._closed = Event()
        self._links: dict[int, socket.socket] = {}
        if ranks.rank == 0:
            self._invite(ranks)
        else:
            self._follow(ranks)
        _OPEN.add(self)
        Thread(target=_listen, args=(weakref.ref(self), dict(self._links)), name="mixfast watch", daemon=True).start()

    def describe(self, rank: int) -> str:
        """Return a rank with its process and machine."""
        return f"rank {rank} ({self.names[rank]})"

    def tell(self, message: bytes) -> None:
        """Send a message to all connected ranks; who cannot be reached will notice by itself."""
        for link in self._links.values():
            with suppress(OSError):
                link.settimeout(_TICK)
                link.sendall(_LENGTH.pack(len(message)) + message)

    def close(self) -> None:
        """Close all connections without an alarm."""
        self._closed.set()
        for link in self._links.values():
            # The listening thread wakes up.
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def in_child(self) -> None:
        """Give up the connections after a fork: as long as a child holds them, they would survive the process."""
        self._closed.set()
        for link in self._links.values():
            with suppress(OSError):
                link.close()

    def heard(self, rank: int, message: bytes) -> None:
        """Take a message of another rank: the last word of rank 0, or the reason why another rank leaves."""
        if self._rank:
            self.last_word = message
        else:
            self.gone.setdefault(rank, Gone(message.decode(errors="replace"), by_signal=True))
        self._events.put(Alarm())

    def ended(self, rank: int, error: OSError | None) -> None:
        """Take note that the connection of a rank is closed."""
        if self._closed.is_set():
            return
        unreachable = error is not None and not isinstance(error, ConnectionResetError | BrokenPipeError)
        why = f"cannot be reached any more ({error.strerror})" if unreachable and error else "has ended"
        self.gone.setdefault(rank, Gone(why, by_signal=False))
        self._events.put(Alarm())

    def _invite(self, ranks: Ranks) -> None:
        """Accept one connection from each other rank."""
        token = secrets.token_bytes(32)
        with _listener(ranks.size) as server:
            card = json.dumps([token.hex(), _host(), server.getsockname()[1], _addresses()]).encode()
            full = Event()
            accepting = Thread(target=self._accept, args=(server, token, full), daemon=True)
            accepting.start()
            ranks.broadcast(card[:_CARD].ljust(_CARD))
            self.names = _names(ranks)
            full.set()
            accepting.join()

    def _accept(self, server: socket.socket, token: bytes, full: Event) -> None:
        server.settimeout(_TICK / 10)
        while not full.is_set():
            try:
                link, _ = server.accept()
            except OSError:
                continue
            with suppress(OSError):
                link.settimeout(_CONNECT)
                hello = link.recv(_HELLO.size, socket.MSG_WAITALL)
                if len(hello) == _HELLO.size and secrets.compare_digest(hello[:32], token):
                    link.sendall(b"!")
                    self._links[_HELLO.unpack(hello)[1]] = _kept(link)
                    continue
            link.close()

    def _follow(self, ranks: Ranks) -> None:
        """Connect to rank 0, at the first of its addresses that answers."""
        token, host, port, addresses = json.loads(ranks.broadcast(bytes(_CARD)))
        if host == _host():
            addresses = ["127.0.0.1", *addresses]
        for address in addresses:
            with suppress(OSError):
                link = socket.create_connection((address, port), timeout=_CONNECT)
                link.sendall(_HELLO.pack(bytes.fromhex(token), ranks.rank))
                if link.recv(1) == b"!":
                    self._links[0] = _kept(link)
                    break
                link.close()
        self.names = _names(ranks)


# All watches of this process.
_OPEN: weakref.WeakSet[Watch] = weakref.WeakSet()


def _after_fork() -> None:
    for watch in list(_OPEN):
        watch.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _names(ranks: Ranks) -> list[str]:
    """Exchange the names of the processes; the exchange ends when every rank has connected, or has given up."""
    name = f"process {os.getpid()} on {_host()}".encode()[:_NAME]
    return [each.rstrip().decode(errors="replace") for each in ranks.all_gather(name.ljust(_NAME))]


def _listen(owner: weakref.ref[Watch], links: dict[int, socket.socket]) -> None:
    """Wait for messages and ends of connections until all connections are closed or their owner is gone."""
    with selectors.DefaultSelector() as selector:
        for rank, link in links.items():
            selector.register(link, selectors.EVENT_READ, rank)
        while links:
            ready = selector.select(_TICK)
            watch = owner()
            if watch is None:
                break
            for key, _ in ready:
                rank = key.data
                if not _hear(watch, rank, links[rank]):
                    selector.unregister(links.pop(rank))
            del watch
        for link in links.values():
            link.close()


def _hear(watch: Watch, rank: int, link: socket.socket) -> bool:
    """Read one message; return whether the connection goes on."""
    try:
        link.settimeout(_SILENCE)
        head = _read(link, _LENGTH.size)
        message = _read(link, _LENGTH.unpack(head)[0])
    except EOFError:
        watch.ended(rank, None)
    except OSError as error:
        watch.ended(rank, error)
    else:
        watch.heard(rank, message)
        return True
    return False


def _read(link: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        piece = link.recv(min(count - len(found), 1 << 20))
        if not piece:
            raise EOFError
        found += piece
    return bytes(found)


def _listener(size: int) -> socket.socket:
    """Return a socket that accepts connections at all addresses of this machine."""
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(("", 0), family=socket.AF_INET6, backlog=size, dualstack_ipv6=True)
    return socket.create_server(("", 0), backlog=size)


def _kept(link: socket.socket) -> socket.socket:
    """Let the system probe a connection while nothing crosses."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _PROBE),
        ("TCP_KEEPINTVL", _PROBE),
        ("TCP_KEEPCNT", _SILENCE // _PROBE - 1),
        ("TCP_USER_TIMEOUT", 1000 * _SILENCE),
    ):
        if hasattr(socket, option):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return link


def _host() -> str:
    return socket.gethostname()


def _addresses() -> list[str]:
    """Return addresses at which other machines may reach this one, the likeliest first."""
    found = [os.environ.get("MASTER_ADDR", ""), _host()]
    with suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(_host(), None, type=socket.SOCK_STREAM)]
    # The address that packets to other networks come from; nothing is sent.
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found.append(probe.getsockname()[0])
    return list(dict.fromkeys(address for address in found if address))[:_MOST_ADDRESSES]
