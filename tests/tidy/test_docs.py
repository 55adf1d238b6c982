"""The documentation speaks of what exists, and what exists is spoken of."""

import ast
import importlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

import blox
from blox.cli.groups import DefaultGroup
from blox.cli.main import blox as blox_command
from blox.cli.main import run
from blox.cli.services import command as daemon_scheduler
from blox.cli.state_service import command as cluster_state_service
from blox.ecs.endpoints import configured_name
from blox.ecs.pacing import CATEGORY_OF
from blox.scheduler.phases import PHASES
from blox.scheduler.reasons import REASONS
from blox.settings import Assumptions
from blox.simulator.run import main as simulator_run
from support.prose import (
    ROOT,
    all_fragments,
    all_text,
    anchors,
    block_after,
    documents,
    links,
    tables,
    words_of,
)

ARCHITECTURE = ROOT / "docs" / "architecture.md"
README = ROOT / "README.md"
COMING = ROOT / "docs" / "blox-0.3.md"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted((ROOT / "src" / "blox").rglob("*.py"))
SOURCE_TEXT = "\n".join(path.read_text() for path in SOURCES)
SERVICES = ("daemon-scheduler", "cluster-state-service")
GONE_FLAGS = {"--etcd-endpoint"}
"""Named because 0.3 had it and we have not."""
AWS_FLAGS = {"--default-result"}
"""Named alone, and the aws command's."""
BOTOCORE_VARIABLES = {
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
}
"""Read by the library that finds credentials, not by us."""


ATTRIBUTE = "(?<!attribute:)(?<!attribute )(?<!name=)"
"""Hosts have attributes that are called `blox.` and an environment's name."""
DEMONSTRATING = ("blox simulate ", "blox demo")
FILES = (".db", ".rules.yaml", ".tf", ".toml", ".yaml")
"""Ends of names that begin with "blox." and are files."""


# --- Commands -------------------------------------------------------------------------------------


def commands() -> dict[str, click.Command]:
    """What a user can type: every command by its full name."""
    return {
        "daemon-scheduler": daemon_scheduler,
        "cluster-state-service": cluster_state_service,
        "python -m blox.simulator.run": simulator_run,
        **dict(_below("blox", blox_command)),
    }


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _below(f"{name} {child}", found)


def _shown() -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, but those of the simulator, which its groups explain, and the
    demonstration, which is typed as it is called."""
    for name, command in _below("blox", blox_command):
        if not isinstance(command, click.Group) and not name.startswith(DEMONSTRATING):
            yield name, command


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Every flag of a command, `--help` included."""
    context = click.Context(command)
    return {
        flag: parameter
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


def problem_of(words: list[str], known: Mapping[str, click.Command]) -> str:
    """What is wrong with a command line, "" if nothing or if it is not one of ours."""
    name = next((n for n in known if words[: len(n.split())] == n.split() and " " in n), words[0])
    if name not in known:
        return ""
    rest = words[len(name.split()) :]
    if rest and rest[0] == blox.__version__:
        return ""  # what a command prints
    while rest:
        word, rest = rest[0], rest[1:]
        options = options_of(known[name])
        if word == "--":
            return ""  # what follows is not ours
        if word.startswith("-") and word != "-":
            option = options.get(word.partition("=")[0])
            if option is None:
                return f"{name} has no {word}"
            if not option.is_flag and not option.count and "=" not in word:
                rest = rest[1:]
        elif f"{name} {word}" in known:
            name = f"{name} {word}"
        elif _is_group(known[name]) and word.isidentifier() and word.islower():
            return f"{name} has no command {word}"
    return ""


def _is_group(command: click.Command) -> bool:
    """Whether nothing but a command's name may follow its name."""
    return isinstance(command, click.Group) and not isinstance(command, DefaultGroup)


def test_every_command_line_in_the_documentation_can_be_typed() -> None:
    known = commands()
    problems = [
        f"{fragment.place}: {problem}"
        for fragment in all_fragments()
        if (words := words_of(fragment.text)) and (problem := problem_of(words, known))
    ]
    assert problems == []


def test_every_example_in_a_help_can_be_typed() -> None:
    known = commands()
    problems, examples = [], 0
    for name, command in known.items():
        told = f"{inspect.cleandoc(command.help or '')}\n{command.epilog}"
        text = re.sub(r"\\\n\s*", " ", told)
        for line in text.splitlines():
            words = words_of(line) if line.startswith("  ") else []
            if words and words[0] in ("blox", *SERVICES):
                examples += 1
                problem = problem_of(words, known)
                problems += [f"{name} --help: {line.strip()}: {problem}"] if problem else []
    assert problems == []
    assert examples > 50


@pytest.mark.parametrize("name", [*SERVICES, *(name for name, _ in _shown())])
def test_every_command_shows_an_example(name: str) -> None:
    command = commands()[name]
    shown = f"{command.help}\n{command.epilog}"
    assert re.search(rf"^  +{name.split()[0]} ", shown, re.MULTILINE)


def test_every_flag_that_is_named_alone_exists() -> None:
    existing = {flag for command in commands().values() for flag in options_of(command)}
    assert not existing & GONE_FLAGS
    named = {
        (fragment.place, match.group())
        for fragment in all_fragments()
        if (match := re.match(r"--[a-z][a-z-]+", fragment.text))
    }
    assert sorted((p, f) for p, f in named if f not in existing | GONE_FLAGS | AWS_FLAGS) == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_flag_of_a_service_is_documented(name: str) -> None:
    text = all_text()
    flags = [flag for flag in options_of(commands()[name]) if flag.startswith("--")]
    assert [flag for flag in flags if not re.search(rf"{flag}\b(?!-)", text)] == []


def test_every_command_is_documented() -> None:
    text = all_text()
    names = [name for name in commands() if not name.startswith("blox simulate ")]
    assert [name for name in names if name not in text] == []


def test_make_targets_in_documentation_and_makefile_are_the_same() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {
        words[1]
        for fragment in all_fragments()
        if (words := words_of(fragment.text))[:1] == ["make"] and len(words) > 1
    }
    assert named == targets


def test_the_readme_says_how_the_tests_are_run() -> None:
    assert "`make test` runs the tests." in README.read_text()


# --- Names ----------------------------------------------------------------------------------------


def test_every_environment_variable_that_is_named_is_read_somewhere() -> None:
    named = set(re.findall(r"\b(?:AWS|BLOX|CSS|DS|ECS)_[A-Z][A-Z_]+\b", all_text()))
    read = set(re.findall(r"\b[A-Z]+_[A-Z][A-Z_]+\b", SOURCE_TEXT))
    services = ("ecs", "sqs", "sts", "iam", "events", "kinesis")
    endpoints = {f"AWS_ENDPOINT_URL_{configured_name(one).upper()}" for one in services}
    assert "AWS_ENDPOINT_URL_" in SOURCE_TEXT, "the endpoints' names are put together"
    assert sorted(named - read - endpoints - BOTOCORE_VARIABLES) == []


def test_every_variable_of_ours_is_documented() -> None:
    logs = {f"{service}_LOG_{which}" for service in ("DS", "CSS") for which in ("FILE", "LEVEL")}
    ours = set(re.findall(r"\"(BLOX_[A-Z_]+)\"", SOURCE_TEXT)) | logs
    text = all_text()
    assert sorted(name for name in ours if name not in text) == []


def test_metrics_in_documentation_and_code_are_the_same() -> None:
    exported = set(re.findall(r"\"(blox_[a-z_]+)\"", SOURCE_TEXT))
    assert exported
    named = set(re.findall(r"\bblox_[a-z_]+[a-z]\b", all_text()))
    plain = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in named}
    assert sorted(name for name in named if not {name, _plain(name)} & exported) == []
    assert sorted(name for name in exported if not {name, _plain(name)} & (named | plain)) == []


def _plain(name: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", name)


def test_every_python_name_that_is_named_exists() -> None:
    missing = [
        f"{fragment.place}: {name}"
        for fragment in all_fragments()
        for name in re.findall(ATTRIBUTE + r"\bblox(?:\.[A-Za-z_]\w*)+", fragment.text)
        if not name.endswith(FILES) and not name.endswith(".NAME") and not _exists(name)
    ]
    assert missing == []


def _exists(dotted: str) -> bool:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_every_file_that_is_named_exists() -> None:
    missing = [
        f"{fragment.place}: {name}"
        for fragment in all_fragments()
        for name in re.findall(
            r"(?<![\w/.])(?:src|tests|docs|scripts|requirements|benchmarks|\.ci)/[\w./-]*\w",
            fragment.text,
        )
        if not (ROOT / name).exists()
    ]
    assert missing == []


def test_every_test_that_stands_for_a_defect_of_0_3_exists() -> None:
    named = 0
    for cell in re.findall(r"^\| \d\d \|.* \| (.+) \|$", COMING.read_text(), re.MULTILINE):
        modules = re.split(r"`(tests/[\w/]+\.py)`", cell)[1:]
        for path, words in zip(modules[::2], modules[1::2], strict=True):
            tests = re.findall(r"`(test_\w+)`", words)
            code = (ROOT / path).read_text()
            assert [name for name in tests if f"def {name}(" not in code] == []
            named += len(tests)
    assert named > 10


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_internal_links_resolve(path: Path) -> None:
    broken = []
    for place, target in links(path):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        known = anchors(file) if file.suffix == ".md" and file.is_file() else set()
        if not file.exists() or (anchor and anchor not in known):
            broken.append(f"{place}: {target}")
    assert broken == []


def test_a_table_of_reasons_is_complete() -> None:
    for path in documents():
        for rows in tables(path):
            codes = {row[0].strip("`") for row in rows}
            if len(codes & set(REASONS)) >= 10:
                head = rows[0][0].strip("`")
                assert codes - {head} == set(REASONS), path.name


def test_the_phases_of_a_migration_are_those_of_the_code() -> None:
    rows = next(rows for rows in tables(ROOT / "docs" / "migrating.md") if rows[0][0] == "phase")
    shown = [[code.strip("`"), who, sentence] for code, who, sentence in rows[1:]]
    assert shown == [[one.code, one.who, one.sentence] for one in PHASES.values()]


# --- The architecture -----------------------------------------------------------------------------


def test_the_picture_of_the_layers_is_the_linters() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert block_after(ARCHITECTURE, "## Layers").split("\n")[:-1] == layers


def test_pure_modules_import_nothing_that_acts() -> None:
    acting = {
        *("aiohttp", "aiobotocore", "apsw", "asyncio", "click", "concurrent", "contextvars"),
        *("litestar", "logging", "os", "random", "secrets", "select", "socket", "ssl", "structlog"),
        *("subprocess", "tempfile", "threading", "time", "urllib.request", "uuid", "uvicorn"),
    }
    guilty = []
    for module in block_after(ARCHITECTURE, "### Pure modules").split():
        tree = ast.parse((ROOT / "src" / (module.replace(".", "/") + ".py")).read_text())
        guilty += [
            f"{module} imports {name}"
            for name in _imports(tree)
            if {name, name.partition(".")[0]} & acting
        ]
    assert guilty == []


def _imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def rules() -> dict[str, str]:
    """The paragraphs of the architecture that describe a rule, by its number."""
    paragraphs = ARCHITECTURE.read_text().split("\n\n")
    return {
        match.group(1): paragraph
        for paragraph in paragraphs
        if (match := re.match(r"\*\*(R\d+) ", paragraph))
    }


def test_every_rule_in_the_code_is_described_and_the_other_way_round() -> None:
    assert set(rules()) == set(re.findall(r"\bR\d{1,2}\b", SOURCE_TEXT))


@pytest.mark.parametrize("number", sorted(rules()))
def test_a_rule_names_its_function_and_what_goes_wrong_without_it(number: str) -> None:
    paragraph = rules()[number]
    modules = re.findall(r"`(blox(?:\.\w+)+)`", paragraph)
    assert modules
    assert re.search(r"\*Without\s+it:\*", paragraph)
    files = {_module_file(name) for name in modules}
    assert any(re.search(rf"\b{number}\b", file.read_text()) for file in files if file), (
        f"none of {modules} speaks of {number}"
    )


def _module_file(dotted: str) -> Path | None:
    parts = dotted.split(".")
    for cut in range(len(parts), 1, -1):
        file = ROOT / "src" / Path(*parts[:cut]).with_suffix(".py")
        if file.is_file():
            return file
    return None


# --- What the README promises ---------------------------------------------------------------------


def test_the_assumptions_are_those_of_the_settings() -> None:
    assumed = Assumptions()
    rows = {row[0].strip("*"): row for rows in tables(README) for row in rows}
    for letter, seconds in (
        ("S", assumed.signature_age),
        ("E", assumed.acceptance_lag),
        ("V", assumed.read_lag),
        ("B", assumed.dated_back),
    ):
        assert rows[letter][2].endswith(f"{seconds:g} s")
    assert f"W = (S − B) + E + V = {assumed.doubt_window:g} s" in README.read_text()  # noqa: RUF001


def policy() -> dict[str, object]:
    """The policy that docs/operating.md shows, decoded."""
    text = (ROOT / "docs" / "operating.md").read_text()
    (block,) = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    decoded = json.loads(block)
    assert isinstance(decoded, dict)
    return decoded


def test_the_policy_is_what_setup_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["setup", "--print", "iam", "--migrate", "--notify-bus", "BUS"]) == 0
    assert policy() == json.loads(capsys.readouterr().out)


def test_the_policy_allows_exactly_the_calls_that_are_made() -> None:
    statements = policy()["Statement"]
    assert isinstance(statements, list)
    allowed: set[str] = set()
    for statement in statements:
        actions = statement["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
    receiving = (ROOT / "src" / "blox" / "clusterstate" / "sqs.py").read_text()
    queue = {name.removesuffix("Batch") for name in re.findall(r"_call\(\"(\w+)\"", receiving)}
    of_the_state_service_alone = {"ecs:ListClusters", "sqs:GetQueueAttributes"}
    made = {f"ecs:{name}" for name in CATEGORY_OF} | {f"sqs:{name}" for name in queue}
    assert of_the_state_service_alone < made
    assert allowed == made - of_the_state_service_alone | {"iam:PassRole", "events:PutEvents"}


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == blox.__version__ == PYPROJECT["project"]["version"]


def test_the_glossary_is_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    terms = [term.casefold() for term in re.findall(r"^- \*\*(.+?)\*\*:", text, re.MULTILINE)]
    assert len(terms) == text.count("\n- ")
    assert terms == sorted(set(terms))


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{3}-[\w-]+\.md)\)", index) == records
    assert [name[:3] for name in records] == [f"{n:03}" for n in range(1, len(records) + 1)]


def test_nothing_is_left_to_do_and_nothing_needs_what_is_not_here() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (*documents(), *SOURCES)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"\bshared/|TODO|FIXME", line)
    ]
    assert places == []
