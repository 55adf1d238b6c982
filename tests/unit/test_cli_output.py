"""How the command line prints, and how it ends."""

import json
import subprocess
import sys
from collections.abc import Sequence

import click
import pytest

from blox import __version__
from blox.base.errors import InvalidInput
from blox.cli import main as cli
from blox.cli.client import Client, path_of
from blox.cli.output import age, clock_time, count, plain, print_json, print_table, short, span
from blox.cli.session import Session, pass_session, shared_options


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.04, "40 ms"),
        (0.4, "0.4 s"),
        (4.6, "4.6 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (41, "41 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (3 * 3600 + 5, "3 h"),
        (6 * 86400, "6 d"),
        (-4.6, "-4.6 s"),
    ],
)
def test_spans_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_an_age_is_never_negative_when_clocks_differ() -> None:
    assert age(1000.0, now=1041.0) == "41 s"
    assert age(1000.0, now=998.0) == "0 s"


def test_small_words() -> None:
    assert clock_time(0.0) == "1970-01-01T00:00:00Z"
    assert (count(1, "host"), count(2, "host")) == ("1 host", "2 hosts")
    assert count(2, "retry", "retries") == "2 retries"
    assert short("arn:aws:ecs:r:1:task/c/0123456789ab") == "01234567…"
    assert short("i-0a9b") == "i-0a9b"


def test_a_table_lines_up_and_has_no_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["HOST", "WHY", "N"], [["i-1", None, 1], ["i-longer", "none here", 22]])

    assert capsys.readouterr().out == (
        "HOST      WHY        N\ni-1       -          1\ni-longer  none here  22\n"
    )


def test_no_rows_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["HOST"], [])

    assert capsys.readouterr().out == ""


def test_texts_from_elsewhere_cannot_paint_on_the_terminal() -> None:
    assert plain("a\x1b[31mb\nc") == "a\ufffd[31mb\ufffdc"


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"b": 1, "a": ["é", None, 1.5]}
    print_json(value)

    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert out.index('"b"') < out.index('"a"')
    assert "é" in out


def lazy_group(monkeypatch: pytest.MonkeyPatch, command: click.Command) -> None:
    """Put a command of the test in the place of `hosts`."""
    monkeypatch.setattr(sys.modules[__name__], "stand_in", command, raising=False)
    monkeypatch.setattr(cli.blox, "_lazy", {"hosts": cli.Lazy(__name__, "stand_in", "A stand-in.")})


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InvalidInput("The name is too long."), 1, "blox: The name is too long.\n"),
        (ConnectionResetError("gone"), 1, "blox: gone\n"),
        (click.ClickException("bad"), 1, "Error: bad\n"),
        (click.exceptions.Exit(5), 5, ""),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_errors_are_one_sentence_and_a_code(
    error: BaseException,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lazy_group(monkeypatch, raising(error))

    assert cli.run(["hosts"]) == code
    assert capsys.readouterr().err == told


def test_a_mistake_of_ours_shows_no_traceback_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lazy_group(monkeypatch, raising(ZeroDivisionError("oh")))
    monkeypatch.delenv("BLOX_DEBUG", raising=False)

    assert cli.run(["hosts"]) == 1
    told = capsys.readouterr().err
    assert "ZeroDivisionError: oh" in told
    assert "Traceback" not in told

    monkeypatch.setenv("BLOX_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.run(["hosts"])


@pytest.mark.parametrize("arguments", [["nothing"], ["--nothing"], ["hosts", "--nothing"]])
def test_a_mistyped_command_is_an_error_not_a_change(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lazy_group(monkeypatch, raising(AssertionError("never called")))

    assert cli.run(arguments) == 1
    assert "No such" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["hosts"], Session("http://env:1", as_json=False)),
        (["--json", "hosts"], Session("http://env:1", as_json=True)),
        (["hosts", "--json"], Session("http://env:1", as_json=True)),
        (["--endpoint", "http://a:1", "hosts"], Session("http://a:1", as_json=False)),
        (
            ["--endpoint", "http://a:1", "hosts", "--endpoint", "http://b:1", "--json"],
            Session("http://b:1", as_json=True),
        ),
    ],
)
def test_shared_options_stand_before_or_after_the_command(
    arguments: Sequence[str], expected: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Session] = []

    @click.command()
    @shared_options
    @pass_session
    def command(session: Session) -> None:
        seen.append(session)

    lazy_group(monkeypatch, command)
    monkeypatch.setenv("BLOX_ENDPOINT", "http://env:1")

    assert cli.run(arguments) == 0
    assert seen == [expected]


def test_the_exit_code_that_a_command_returns_is_the_process_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    def command() -> int:
        return 3

    lazy_group(monkeypatch, command)

    assert cli.run(["hosts"]) == 3


def blox_process(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "blox.cli.main", *arguments]


def test_help_names_every_command_and_imports_none() -> None:
    heavy = "asyncio,http.client,litestar,uvicorn,rich,msgspec,structlog,aiohttp,blox.cli.operate"
    program = (
        "import sys; from blox.cli.main import run; code = run(['--help'])\n"
        f"loaded = [name for name in {heavy!r}.split(',') if name in sys.modules]\n"
        "print('LOADED', loaded, code)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.endswith("LOADED [] 0\n")
    for name in cli.COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_the_version() -> None:
    done = subprocess.run(blox_process("--version"), capture_output=True, text=True, check=True)

    assert done.stdout == f"blox {__version__}\n"


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    program = (
        "import sys, click; from blox.cli import main\n"
        "@click.command()\n"
        "def much():\n"
        "    sys.stdin.readline()\n"
        "    for _ in range(100000): click.echo('line')\n"
        "sys.modules['stand'] = type(sys)('stand'); sys.modules['stand'].much = much\n"
        "main.blox._lazy = {'hosts': main.Lazy('stand', 'much', '')}\n"
        "sys.argv = ['blox', 'hosts']; main.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        told = process.stderr.read()
        code = process.wait(timeout=30)

    assert told == b""
    assert code == 1


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://", "http://[::1", "http://h:99999", ""])
def test_an_endpoint_that_is_no_url_is_told(endpoint: str) -> None:
    with pytest.raises(InvalidInput, match="is no URL"):
        Client(endpoint)


def test_paths_quote_what_people_type() -> None:
    assert path_of("v2", "environments", "a b", "x/y?z") == "/v2/environments/a%20b/x%2Fy%3Fz"
