"""docs/api.md and docs/api-clusters.md list the operations that the services serve: each of them,
and no other."""

import re
from collections.abc import Iterator
from pathlib import Path

from support import running, statestore
from support.prose import ROOT

SCHEDULER = ROOT / "docs" / "api.md"
STATE_SERVICE = ROOT / "docs" / "api-clusters.md"
_BELOW = "/v2/environments/{cluster}"
_METHODS = "GET|POST|PUT|PATCH|DELETE"


def documented(document: Path) -> Iterator[tuple[str, str]]:
    """Method and path of every call in a table; names of parts of a path do not matter."""
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            calls = line.split(" | ")[0]
            for method, path in re.findall(rf"`({_METHODS}) ([/…]\S+)`", calls):
                yield method, _plain(path.replace("…", _BELOW))


def parameters(document: Path) -> dict[str, set[str]]:
    """Path → the query parameters that its row shows, for the rows that show any."""
    found = re.findall(rf"`(?:{_METHODS}) (/\S+)\?(\S+)`", document.read_text(encoding="utf-8"))
    return {_plain(path): set(re.findall(r"(\w+)=", query)) for path, query in found}


def served(bench: running.Bench | statestore.Bench) -> Iterator[tuple[str, str]]:
    """The same of the OpenAPI document, but probes and the like, which the text speaks of."""
    for path, item in bench.ask("GET", "/openapi.json").json["paths"].items():
        if path.startswith(("/v1/", "/v2/")):
            for method in item:
                if method.upper() in _METHODS.split("|"):
                    yield method.upper(), _plain(path)


def taken(bench: statestore.Bench) -> dict[str, set[str]]:
    """Path → the query parameters that a GET takes."""
    paths = bench.ask("GET", "/openapi.json").json["paths"]
    return {
        _plain(path): {one["name"] for one in item["get"]["parameters"] if one["in"] == "query"}
        for path, item in paths.items()
        if "parameters" in item.get("get", ())
    }


def _plain(path: str) -> str:
    plain = re.sub(r"\{\w+\}", "{}", path.partition("?")[0].rstrip("/"))
    return re.sub(r"/(hosts|holds)/\{\}(?:/\{\})+$", r"/\1/{}", plain)  # a host by its ARN


def test_the_document_lists_what_is_served() -> None:
    found = running.on_a_scheduler(lambda bench: sorted(served(bench)), hosts=0)
    assert len(found) > 30
    assert sorted(set(documented(SCHEDULER))) == sorted(set(found))


def test_the_document_lists_what_the_cluster_state_service_serves() -> None:
    found = statestore.on_a_state_service(lambda bench: sorted(served(bench)))
    assert len(found) > 12
    assert sorted(set(documented(STATE_SERVICE))) == sorted(set(found))


def test_the_document_names_what_may_be_asked_of_the_cluster_state_service() -> None:
    """Beside a call, all of its query parameters; of the two lists with many, in their table."""
    takes = statestore.on_a_state_service(taken)
    shown = parameters(STATE_SERVICE)
    assert {path: takes[path] for path in shown} == shown
    text = STATE_SERVICE.read_text(encoding="utf-8")
    both, tasks, instances = (
        set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row)))
        for row in re.findall(r"^\| (?:both|tasks|instances) \| (.+) \|$", text, re.MULTILINE)
    )
    assert takes["/v2/tasks"] == both | tasks
    assert takes["/v2/instances"] == both | instances
