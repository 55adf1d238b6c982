"""The socket, and uvicorn on it.

The socket is bound and listens before anything heavy is imported: a port in use is told at once,
and a client that comes early waits in the socket's queue for the moment that the rest takes.
uvicorn takes signals for itself, raises them again after its end, and leaves by `sys.exit` when it
cannot bind; here it gets a socket, no signals, and a time after which it ends what is still open,
so that what follows it always runs.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from blox.base.errors import Conflict, InvalidInput
from blox.http.unread import UNREAD_SECONDS, Unread

if TYPE_CHECKING:
    from blox.http.edge import App

STOP_SECONDS: Final = 5
"""How long open requests may go on after the server was asked to stop."""
_BACKLOG: Final = 1024
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""Gone after two minutes of silence."""
_NETWORK_FLAG: Final = "--allow-unauthenticated-network"


class Address(NamedTuple):
    """Where to listen. An empty host means every address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT` or `:PORT`. Raises InvalidInput."""
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidInput(
            f"{text!r} is no address to listen on: HOST:PORT is needed, with a port of at most "
            "65535, as in 127.0.0.1:2000."
        )
    if bracketed:
        host = host[1:-1]
        if not _is_ipv6(host):
            raise InvalidInput(f"{text!r}: {host!r} in brackets is no IPv6 address.")
    elif ":" in host:
        raise InvalidInput(f"{text!r}: put an IPv6 address in brackets, as in [::1]:2000.")
    return Address(host, int(port))


def bind(
    address: Address,
    *,
    allow_network: bool = False,
    reads_only: bool = False,
    unread_seconds: float = UNREAD_SECONDS,
) -> socket.socket:
    """A socket that listens on `address`; port 0 takes any free one. `reads_only`: who reaches it
    can read, and start or stop nothing. `unread_seconds`: how long a client may take nothing of
    what it is sent, where the kernel can tell.

    Raises InvalidInput when the address is not this machine's or reaches beyond loopback without
    `allow_network`; Conflict when the port is in use.
    """
    family, resolved = _resolve(address)
    if not allow_network and not is_loopback(resolved):
        may = "read all that is known of your clusters"
        if not reads_only:
            may = "start and stop daemons on your hosts"
        raise InvalidInput(
            f"Listening on {address} lets everyone who can reach it {may}: there are no "
            f"credentials and no TLS. Listen on 127.0.0.1, or accept the risk with {_NETWORK_FLAG}."
        )
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _notice_the_dead(listener, unread_seconds)
        listener.bind((resolved, address.port))
        listener.listen(_BACKLOG)
        listener.settimeout(0.0)
    except OSError as error:
        listener.close()
        raise _told(error, address) from error
    return listener


def address_of(listener: socket.socket) -> Address:
    """Where a bound socket listens, with the port that it really has."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return is_loopback(address_of(listener).host)


def is_loopback(host: str) -> bool:
    """Whether an IP address reaches only this machine."""
    try:
        ip = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop that serves: uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextlib.asynccontextmanager
async def serving(
    app: "App",
    listener: socket.socket,
    *,
    stop_seconds: int = STOP_SECONDS,
    on_stop: Callable[[], None] = lambda: None,
    unread: Unread | None = None,
) -> AsyncIterator[None]:
    """Serve `app` on the socket while the block runs. `unread`: who cuts off clients that do not
    read.

    At its end `on_stop` is called (for streams that must be told), open requests get
    `stop_seconds`, then they are cancelled; the socket is closed. Signals are the caller's. Should
    the server itself fail, the block is cancelled and the failure raised.
    """
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Take none."""
            yield

    server = Server(
        uvicorn.Config(
            app,
            http=_connections(Unread() if unread is None else unread),
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=stop_seconds,
            backlog=_BACKLOG,
        )
    )
    block = asyncio.current_task()

    def ended(_: asyncio.Task[None]) -> None:
        if not server.should_exit and block is not None:
            block.cancel()

    running = asyncio.create_task(server.serve(sockets=[listener]), name="http-server")
    running.add_done_callback(ended)
    try:
        yield
    finally:
        on_stop()
        server.should_exit = True
        await running


def _connections(unread: Unread) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which tells whose clients are behind."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Connection(HttpToolsProtocol):
        def pause_writing(self) -> None:
            """More waits for the client than should."""
            super().pause_writing()
            unread.behind(self.transport)

        def resume_writing(self) -> None:
            """The client has read."""
            super().resume_writing()
            unread.caught_up(self.transport)

        def connection_lost(self, exc: Exception | None) -> None:
            """The client has left, or was cut off."""
            unread.caught_up(self.transport)
            super().connection_lost(exc)

    return Connection


def _notice_the_dead(listener: socket.socket, unread_seconds: float) -> None:
    """Have the kernel ask silent clients whether they are still there, and end connections whose
    clients take nothing for so long; what is accepted inherits it. A machine that vanished says
    nothing, and a stream in which nothing changes would be kept for it for ever; one that does not
    read answers every question: https://man7.org/linux/man-pages/man7/tcp.7.html"""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = round(unread_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def _resolve(address: Address) -> tuple[socket.AddressFamily, str]:
    """The IP address that the host's name stands for; of several, IPv4, which clients try."""
    host = address.host or "0.0.0.0"
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidInput(
            f"Cannot listen on {address}: the name {host!r} is not known here ({error.strerror})."
        ) from error
    family, _, _, _, place = min(found, key=lambda choice: choice[0] != socket.AF_INET)
    return family, str(place[0])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _told(error: OSError, address: Address) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {address.port} on {address.host or 'this machine'} is in use by another "
            "process. Stop that one, or choose another port with --bind HOST:PORT."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidInput(f"Cannot listen on {address}: this machine has no such address.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return InvalidInput(
            f"Cannot listen on {address}: this user may not take port {address.port}. "
            "Choose one above 1023."
        )
    return InvalidInput(f"Cannot listen on {address}: {error.strerror}.")
