"""Notices to a URL: one POST each, signed if there is a secret.

Not followed are redirects, and nothing of the URL but its host is ever written down: paths and
queries of webhooks are passwords. Names are looked up in a thread of our own, because the event
loop's are few and a resolver that hangs would take them from the calls to AWS.
"""

import asyncio
import socket
import threading
import urllib.request
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

import blox
from blox.app.notices_bodies import Parcel, signature
from blox.app.notices_send import Outcome, Tried

TIMEOUT: Final = 10.0
"""Seconds for one POST, its connection included."""
KEPT_ALIVE: Final = 15.0
"""Seconds for which an idle connection is kept."""

_Found = list[tuple[int, int, int, str, tuple[str, int]]]


class Webhook:
    """One URL that is told."""

    def __init__(self, url: str, *, label: str, secret: str = "", timeout: float = TIMEOUT) -> None:
        """`label`: its name for people. `secret`: "" signs nothing. `timeout`: seconds."""
        self.label = label
        self._url = URL(url)
        self._secret = secret
        self._timeout = timeout
        self._proxy = _proxy_for(url)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, parcel: Parcel) -> Tried:
        """One POST; 2xx takes the notice. 408, 429, 5xx and no answer at all are tried again."""
        headers = {
            "Content-Type": "application/json",
            "X-Blox-Id": parcel.id,
            "X-Blox-Kind": parcel.kind.value,
        }
        if self._secret:
            headers["X-Blox-Signature"] = signature(self._secret, parcel.body)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(parcel.body, headers)
        except TimeoutError:
            return Tried(Outcome.AGAIN, f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Tried(Outcome.AGAIN, self._without_url(f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Close its connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, body: bytes, headers: dict[str, str]) -> Tried:
        if self._session is None:
            self._session = _session()
        async with self._session.post(
            self._url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
        ) as answer:
            return _judged(answer.status, answer.headers.get("Retry-After", ""))

    def _without_url(self, text: str) -> str:
        """An error's text without what may be a password."""
        for secret in (str(self._url), self._url.raw_path_qs, self._url.path_qs):
            if len(secret) > 1:
                text = text.replace(secret, "…")
        return text


def _judged(status: int, retry_after: str) -> Tried:
    if 200 <= status < 300:
        return Tried(Outcome.SENT)
    if status in (408, 429) or status >= 500:
        asked = retry_after.strip()
        wait = float(asked) if asked.isascii() and asked.isdigit() else 0.0
        return Tried(Outcome.AGAIN, f"HTTP {status}", wait)
    if 300 <= status < 400:
        return Tried(Outcome.REFUSED, f"HTTP {status}: redirects are not followed")
    return Tried(Outcome.REFUSED, f"HTTP {status}")


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=KEPT_ALIVE, resolver=_Resolver())
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"blox/{blox.__version__}"},
        trust_env=False,
        auto_decompress=False,
    )


def _proxy_for(url: str) -> URL | None:
    """The proxy that HTTPS_PROXY or HTTP_PROXY names for it; none for this machine itself. Other
    than aiohttp's own search, this one never opens ~/.netrc."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return URL(proxy) if proxy else None


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own, one at a time: a lookup that hangs is waited for by all
    who ask meanwhile."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, int, int], asyncio.Future[_Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        key = (host, port, int(family))
        found = self._running.get(key)
        if found is None:
            found = self._running[key] = self._look_up(host, port, family)
            found.add_done_callback(lambda _: self._running.pop(key, None))
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await asyncio.shield(found)
        ]

    async def close(self) -> None:
        """A lookup that hangs ends with the process."""

    def _look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> "asyncio.Future[_Found]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Found] = loop.create_future()

        def done(found: _Found, error: OSError | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
                future.exception()  # Who asked may have given up by now.
            else:
                future.set_result(found)

        def look() -> None:
            found: _Found = []
            failed: OSError | None = None
            try:
                found = [
                    (int(kind), int(how), protocol, name, (str(to[0]), int(to[1])))
                    for kind, how, protocol, name, to in socket.getaddrinfo(
                        host, port, family=family, type=socket.SOCK_STREAM
                    )
                ]
            except OSError as error:
                failed = error
            except UnicodeError:
                failed = OSError(f"{host} is no name of a host")
            with suppress(RuntimeError):  # The loop may have ended meanwhile.
                loop.call_soon_threadsafe(done, found, failed)

        threading.Thread(target=look, name="notices: look up", daemon=True).start()
        return future
