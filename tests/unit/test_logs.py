"""Where log lines go, how they look, and what never stands in them."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from blox.base.logs import HIDDEN, configure_logs, hide_in_text, hide_secrets


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_away_from_a_terminal_each_event_is_a_line_of_json() -> None:
    stream = io.StringIO()
    configure_logs({}, stream=stream)

    structlog.get_logger("blox.test").info("host joined", host="i-1", count=3, seen=Path("/a"))

    (line,) = lines_of(stream)
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["event"] == "host joined"
    assert line["level"] == "info"
    assert line["host"] == "i-1"
    assert line["count"] == 3
    assert line["seen"] == "/a"
    assert line["logger"] == "blox.test"


def test_on_a_terminal_lines_are_for_people_and_control_characters_are_harmless() -> None:
    stream = Terminal()
    configure_logs({}, stream=stream)

    structlog.get_logger().info("stopped", reason="\x1b[2Jgone\nforged line")

    text = stream.getvalue()
    assert "stopped" in text
    assert "\x1b[2J" not in text
    assert "x1b[2Jgone" in text
    assert "forged line" in text
    assert text.count("\n") == 1


def test_the_standard_librarys_records_take_the_same_way() -> None:
    stream = io.StringIO()
    configure_logs({}, stream=stream)

    logging.getLogger("some.library").warning("lost %s", "it")

    (line,) = lines_of(stream)
    assert (line["event"], line["level"], line["logger"]) == ("lost it", "warning", "some.library")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("", ["info", "warning", "error"]),
        ("DEBUG", ["debug", "info", "warning", "error"]),
        ("trace", ["debug", "info", "warning", "error"]),
        ("Warn", ["warning", "error"]),
        (" error ", ["error"]),
        ("off", []),
    ],
)
def test_levels_are_names_in_any_case(level: str, shown: list[str]) -> None:
    stream = io.StringIO()
    configure_logs({"DS_LOG_LEVEL": level}, stream=stream)
    log = structlog.get_logger()

    log.debug("a")
    log.info("a")
    log.warning("a")
    log.error("a")

    assert [line["level"] for line in lines_of(stream)] == shown


def test_an_unknown_level_is_named_and_info_taken() -> None:
    stream = io.StringIO()
    configure_logs({"DS_LOG_LEVEL": "loud"}, stream=stream)

    structlog.get_logger().debug("unseen")
    structlog.get_logger().info("seen")

    warning, seen = lines_of(stream)
    assert warning["level"] == "warning"
    assert "DS_LOG_LEVEL is 'loud'" in str(warning["event"])
    assert seen["event"] == "seen"


def test_at_debug_libraries_that_print_signed_requests_stay_quiet() -> None:
    stream = io.StringIO()
    configure_logs({"DS_LOG_LEVEL": "debug"}, stream=stream)

    logging.getLogger("botocore.auth").debug("StringToSign: ...")

    assert stream.getvalue() == ""


def test_a_file_is_made_with_its_folder_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "deep" / "ds.log"
    stream = io.StringIO()
    for event in ("first", "second"):
        configure_logs({"DS_LOG_FILE": str(path)}, stream=stream)
        structlog.get_logger().info(event)

    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "first",
        "second",
    ]
    assert stream.getvalue() == ""


def test_after_rotation_the_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "ds.log"
    configure_logs({"DS_LOG_FILE": str(path)}, stream=io.StringIO())
    structlog.get_logger().info("before")
    path.rename(tmp_path / "ds.log.1")

    structlog.get_logger().info("after")

    assert json.loads(path.read_text())["event"] == "after"


def test_a_file_that_cannot_be_opened_is_told_and_standard_error_used(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    stream = io.StringIO()
    configure_logs({"DS_LOG_FILE": str(tmp_path / "plain" / "ds.log")}, stream=stream)

    structlog.get_logger().info("still here")

    warning, line = lines_of(stream)
    assert warning["level"] == "warning"
    assert "cannot be opened" in str(warning["event"])
    assert line["event"] == "still here"


def test_the_other_service_has_its_own_variables(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logs({"DS_LOG_LEVEL": "off", "CSS_LOG_LEVEL": "error"}, prefix="CSS", stream=stream)

    structlog.get_logger().error("told")

    assert [line["event"] for line in lines_of(stream)] == ["told"]


@pytest.mark.parametrize(
    "name",
    [
        "aws_secret_access_key",
        "secretAccessKey",
        "sessionToken",
        "session_token",
        "X-Amz-Security-Token",
        "Authorization",
        "password",
        "deploymentToken",
    ],
)
def test_fields_with_the_names_of_credentials_are_hidden(name: str) -> None:
    event = hide_secrets(None, "info", {"event": "x", name: "hunter2", "host": "i-1"})

    assert event == {"event": "x", name: HIDDEN, "host": "i-1"}


def test_credentials_are_found_at_any_depth() -> None:
    nested = {"call": [{"headers": {"authorization": "hunter2", "host": "ecs"}}], "tokens": 3}

    event = hide_secrets(None, "info", {"event": "x", "request": nested})

    assert "hunter2" not in str(event)
    assert event["request"] == {
        "call": [{"headers": {"authorization": HIDDEN, "host": "ecs"}}],
        "tokens": 3,
    }


SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00"  # 40 characters, as AWS makes them


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"aws_secret_access_key={SECRET}", SECRET),
        ("AWS_SECRET_ACCESS_KEY: short", "short"),
        ('{"SecretAccessKey": "abc/def", "x": 1}', "abc/def"),
        ("'sessionToken': 'IQoJb3JpZ2luX2VjE'", "IQoJb3JpZ2luX2VjE"),
        ("x-amz-security-token: IQoJb3JpZ2luX2VjE", "IQoJb3JpZ2luX2VjE"),
        ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261122/eu/ecs, "
            "SignedHeaders=host, Signature=" + "0a" * 32,
            "0a0a",
        ),
        ("AWS4-HMAC-SHA256 Credential=X/2026, Signature=" + "0b" * 32, "0b0b"),
        (f"a bare key {SECRET} in a sentence", SECRET),
        ("as AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    ],
)
def test_texts_that_look_like_credentials_are_hidden(text: str, secret: str) -> None:
    assert secret in text

    hidden = hide_in_text(text)

    assert secret not in hidden
    assert HIDDEN in hidden


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:ecs:eu-west-1:111122223333:task/prod/0123456789abcdef0123456789abcdef",
        "StartTask logs:42 on 10 hosts, request 7a55d1f0-0000-4000-8000-000000000000",
        "0123456789abcdef0123456789abcdef01234567",  # a SHA-1
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",  # an intent
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "the token bucket is empty: 3 tokens in 2 s",
    ],
)
def test_what_operators_need_stays_readable(text: str) -> None:
    assert hide_in_text(text) == text


def test_tracebacks_are_searched_too() -> None:
    stream = io.StringIO()
    configure_logs({}, stream=stream)

    try:
        raise RuntimeError(f"signing failed for aws_secret_access_key={SECRET}")
    except RuntimeError:
        structlog.get_logger().exception("oh")
        logging.getLogger("library").exception("oh")

    ours, theirs = lines_of(stream)
    for line in (ours, theirs):
        assert "RuntimeError: signing failed" in str(line["exception"])
    assert SECRET not in stream.getvalue()
