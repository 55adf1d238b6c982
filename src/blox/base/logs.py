"""Logs: one line for each event, for people on a terminal and as JSON everywhere else.

Both structlog's events and the standard library's records (of uvicorn, botocore …) go through the
same chain, whose last step before rendering hides what looks like a credential: by the name of its
field, and by its shape inside any text, tracebacks included.

    DS_LOG_LEVEL   trace, debug, info (default), warn, error, critical or off, in any case
    DS_LOG_FILE    a file to append to, made with its folder; default: standard error
"""

import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN: Final = "[hidden]"
_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
    "off": logging.CRITICAL + 10,
}
_LOUD_LIBRARIES: Final = ("aiobotocore", "aiohttp", "asyncio", "botocore", "litestar", "uvicorn")
"""Never below WARNING: at DEBUG botocore prints signed requests."""

_SECRET_NAME: Final = re.compile(
    r"secret|passw|credential|authorization|private.?key|signature$|cookie|token$",
    re.IGNORECASE,
)
_SECRET_TEXTS: Final = (
    # name=value, name: value and "name": "value"
    re.compile(
        r"(?P<keep>(?:secret_?access_?key|aws_secret\w*|session_?token|security[_-]token"
        r"|password|authorization)[\"']?\s*[=:]\s*[\"']?)"
        r"(?P<hide>(?:(?:AWS4-HMAC-SHA256|Basic|Bearer)\s+)?[^\s\"'&,}]+"
        r"(?:,\s*(?:SignedHeaders|Signature)=[^\s\"',]+)*)",
        re.IGNORECASE,
    ),
    # a signed request, wherever it stands
    re.compile(r"(?P<keep>\bAWS4-HMAC-SHA256\s+)(?P<hide>Credential=.*?Signature=[0-9a-f]+)"),
    re.compile(r"(?P<keep>\bSignature=)(?P<hide>[0-9a-fA-F]{32,})"),
    re.compile(r"(?P<keep>\b(?:Basic|Bearer)\s+)(?P<hide>[A-Za-z0-9+/._~-]{16,}=*)"),
    # an access key's id; harmless alone, but it says whose secret stands beside it
    re.compile(r"(?P<keep>\b(?:AKIA|ASIA))(?P<hide>[A-Z0-9]{12,16})\b"),
    # a bare secret key: 40 characters of base64 with upper case, lower case and digits
    re.compile(
        r"(?P<keep>(?<![A-Za-z0-9/+=]))(?P<hide>(?=[^A-Z]{0,39}[A-Z])(?=[^a-z]{0,39}[a-z])"
        r"(?=[^0-9]{0,39}[0-9])[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
    ),
)
_CONTROL: Final = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)]}
_MULTILINE: Final = {code: text for code, text in _CONTROL.items() if code not in (9, 10)}


def configure_logs(
    environ: Mapping[str, str] = os.environ,
    *,
    prefix: str = "DS",
    stream: TextIO | None = None,
) -> None:
    """Send every log line where the environment says. May be called again.

    Nothing here fails: what cannot be done is said in a warning, and standard error is used.
    """
    level, complaints = _level_of(environ, f"{prefix}_LOG_LEVEL")
    handler, trouble = _handler_of(environ, f"{prefix}_LOG_FILE", stream or sys.stderr)
    on_terminal = isinstance(handler, logging.StreamHandler) and _is_terminal(handler.stream)
    handler.setFormatter(_formatter(on_terminal=on_terminal))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Ours):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(level)
    for library in _LOUD_LIBRARIES:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            *_shared_steps(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min(level, logging.CRITICAL)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    for complaint in (*complaints, *trouble):
        structlog.get_logger(__name__).warning(complaint)


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: the event without anything that looks like a credential."""
    return {name: _without_secrets(value, name) for name, value in event.items()}


def hide_in_text(text: str) -> str:
    """The text without anything that looks like a credential."""
    for pattern in _SECRET_TEXTS:
        text = pattern.sub(lambda match: match["keep"] + HIDDEN, text)
    return text


class _Ours:
    """Marks the handler that `configure_logs` put in, to take it out again."""


class _FileHandler(_Ours, logging.handlers.WatchedFileHandler):
    """Appends to a file, and opens it anew when log rotation moved it away."""


class _StreamHandler(_Ours, logging.StreamHandler[TextIO]):
    """Writes to standard error."""


def _without_secrets(value: object, name: str = "") -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if name and _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return hide_in_text(value)
    if isinstance(value, Mapping):
        return {str(key): _without_secrets(value[key], str(key)) for key in value}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        return [_without_secrets(part) for part in value]
    return hide_in_text(str(value))


def _level_of(environ: Mapping[str, str], variable: str) -> tuple[int, tuple[str, ...]]:
    text = environ.get(variable, "").strip()
    level = _LEVELS.get(text.lower() or "info")
    if level is not None:
        return level, ()
    known = "trace, debug, info, warn, error, critical, off"
    return logging.INFO, (f"{variable} is {text!r}, which is none of {known}; using info.",)


def _handler_of(
    environ: Mapping[str, str], variable: str, stream: TextIO
) -> tuple[logging.Handler, tuple[str, ...]]:
    name = environ.get(variable, "").strip()
    if not name:
        return _StreamHandler(stream), ()
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _FileHandler(path, encoding="utf-8"), ()
    except OSError as error:
        trouble = f"{variable} is {name!r}, which cannot be opened ({error.strerror}); "
        return _StreamHandler(stream), (trouble + "logging to standard error.",)


def _is_terminal(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())


def _shared_steps() -> list[Processor]:
    """What every event gets, whoever logged it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]


def _formatter(*, on_terminal: bool) -> logging.Formatter:
    last: list[Processor]
    if on_terminal:
        console = structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback, timestamp_key="time", pad_event_to=0
        )
        last = [_harmless, console]
    else:
        last = [_as_json]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared_steps(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            hide_secrets,
            *last,
        ],
    )


def _harmless(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Without control characters: a text from elsewhere must not paint on the terminal."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = value.translate(_MULTILINE if name == "exception" else _CONTROL)
    return event


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {name: event.pop(name) for name in ("time", "level", "event") if name in event}
    return msgspec.json.encode({**first, **event}, enc_hook=str).decode()
