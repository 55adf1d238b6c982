"""The shape of the code: sizes, docstrings, layers, and what nothing may contain."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = sorted(path for name in ("benchmarks", "scripts") for path in (ROOT / name).rglob("*.py"))
EVERYTHING = [*SOURCE, *TESTS, *OTHERS]

FUNCTION_LINES = 60
MODULE_LINES, TEST_MODULE_LINES = 600, 700
ECS_NOUNS = {"Document", "_Answer"}
"""Bases of records that only have ECS's members under ECS's names: ECS documents them."""
WAITS = {ROOT / "tests" / "support" / "processes.py"}
"""Where tests wait for real processes, until a condition holds or a deadline has passed."""
VALUES = {"blox.settings"}
"""What pure modules may use besides each other: a tree of frozen values."""

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
PURE: list[str] = next(
    contract["source_modules"] for contract in CONTRACTS if contract["name"].startswith("pure")
)


def tree_of(path: Path) -> ast.Module:
    """The module, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """As people name it."""
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, nested ones and methods included."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCE) > 100
    assert len(TESTS) > 80


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{name_of(path)}:{function.lineno} {function.name}"
        for path in EVERYTHING
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES
    ]
    assert long == []


def test_modules_are_read_in_one_sitting() -> None:
    long = [
        name_of(path)
        for path in EVERYTHING
        if len(path.read_text().splitlines())
        > (TEST_MODULE_LINES if path in TESTS else MODULE_LINES)
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path in EVERYTHING
        if path.read_text().strip() and not ast.get_docstring(tree_of(path))
    ]
    assert silent == []


def test_every_public_function_and_class_says_what_it_does() -> None:
    silent = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in SOURCE
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not (isinstance(node, ast.ClassDef) and bases(node) & ECS_NOUNS)
    ]
    assert silent == []


def bases(node: ast.ClassDef) -> set[str]:
    """The names of a class's bases."""
    return {base.id for base in node.bases if isinstance(base, ast.Name)}


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX", "HACK"])
def test_nothing_is_left_for_later(word: str) -> None:
    later = [
        f"{name_of(path)}:{number}"
        for path in EVERYTHING
        if path != Path(__file__) and path.parent.name != "tidy"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(rf"\b{word}\b", line)
    ]
    assert later == []


def test_no_test_sleeps() -> None:
    asleep = [
        f"{name_of(path)}:{node.lineno}"
        for path in TESTS
        if path not in WAITS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr == "sleep"
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    ]
    assert asleep == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    spared = [
        f"{name_of(path)}:{node.lineno}"
        for path in TESTS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail", "flaky")
    ]
    assert spared == []


# --- Layers ---------------------------------------------------------------------------------------


def test_the_layers_hold() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in linted.stdout


def test_the_document_and_the_linter_name_the_same_pure_modules() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    listed = text.split("### Pure modules", 1)[1].split("```")[1].split()
    assert listed == sorted(listed)
    assert listed == PURE


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure_rests_on_what_is_pure(module: str) -> None:
    """The oracle rests on the simulated cloud besides, whose records it reads."""
    impure = {
        name
        for name in imports_of(module)
        if name not in PURE and name not in VALUES
        if not (module.startswith("blox.simulator.") and name.startswith("blox.simulator."))
    }
    assert impure == set()


def imports_of(module: str) -> set[str]:
    """The modules of blox that a module imports."""
    found = set[str]()
    for node in ast.walk(tree_of(file_of(module))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("blox"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in inner if file_of(name).exists()}
            found |= modules or {node.module}
    return found


def file_of(module: str) -> Path:
    """The file of a module that is no package."""
    return ROOT / "src" / (module.replace(".", "/") + ".py")


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure_waits_for_nothing(module: str) -> None:
    """Protocols may describe what waits; nothing in a pure module awaits it."""
    waiting = [
        node.lineno
        for node in ast.walk(tree_of(file_of(module)))
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    assert waiting == []
