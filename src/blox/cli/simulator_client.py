"""The control API of a running simulator as seen from the command line: small and synchronous."""

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from blox.base.errors import InvalidInput, NotFound, Unavailable

DEFAULT_SIMULATOR: Final = "http://127.0.0.1:4566"
_TIMEOUT: Final = 30.0

JsonObject = dict[str, Any]


class Simulator:
    """The control API of a running simulator."""

    def __init__(self, endpoint: str) -> None:
        """Raises InvalidInput when `endpoint` is no URL."""
        try:
            parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme != "http":
            raise InvalidInput(
                f"{endpoint!r} is no address of a simulator: something like {DEFAULT_SIMULATOR} is "
                "needed (--endpoint or BLOX_SIMULATOR)."
            )
        self.endpoint = endpoint
        self._host, self._port = host, port or 80

    def get(self, what: str, query: Mapping[str, str] | None = None) -> JsonObject:
        """Look. Raises Unavailable, NotFound, InvalidInput."""
        return self._ask("GET", what + ("?" + urlencode(query) if query else ""), None)

    def post(self, what: str, body: Mapping[str, object]) -> JsonObject:
        """Let something happen. Raises Unavailable, NotFound, InvalidInput."""
        return self._ask("POST", what, json.dumps(body).encode())

    def delete(self, what: str) -> JsonObject:
        """Take something back. Raises Unavailable, NotFound, InvalidInput."""
        return self._ask("DELETE", what, None)

    def _ask(self, method: str, what: str, body: bytes | None) -> JsonObject:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request(
                method, f"/_control/{what}", body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            value = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                f"No simulator answers at {self.endpoint} ({error}). Start one with "
                "`blox simulate serve`, or name it with --endpoint or BLOX_SIMULATOR."
            ) from error
        finally:
            connection.close()
        if not isinstance(value, dict) or (answer.status != 200 and "error" not in value):
            raise Unavailable(f"What answers at {self.endpoint} is no simulator.")
        if answer.status == 404:
            raise NotFound(str(value.get("error")))
        if answer.status != 200:
            raise InvalidInput(str(value.get("error")))
        return value
