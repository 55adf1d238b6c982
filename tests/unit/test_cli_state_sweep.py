"""`blox clusters sweep --wait`: how it ends, and what it says on the way."""

import json
from collections.abc import Iterator

import pytest

from blox.cli import clusters
from blox.cli.main import run
from support.scripted_state import Scripted, scripted
from support.state_items import CLUSTER, Item, cluster_body

SWEEP = "POST /v2/clusters/demo/sweep"
LOOK = "GET /v2/clusters/demo"


def ticket(number: int, epoch: str = "e1") -> tuple[int, Item]:
    """The answer to asking for a sweep."""
    return 202, {"cluster": "demo", "clusterArn": CLUSTER, "epoch": epoch, "sweep": number}


class Asked(Scripted):
    """Answers with the next of these looks at the cluster, and of these tickets; with the last one
    from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[tuple[int, Item]] = []
        self.tickets: list[tuple[int, Item]] = []

    def answer(self, method: str, target: str) -> tuple[int, Item]:
        for place, answers in ((LOOK, self.looks), (SWEEP, self.tickets)):
            if f"{method} {target}" == place and answers:
                self.answers[place] = answers.pop(0)
        return super().answer(method, target)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """A service that has been asked for sweep 8, and looks at the cluster that come at once."""
    monkeypatch.setattr(clusters, "_POLL", 0.001)
    script = Asked()
    script.tickets = [ticket(8)]
    with scripted(script) as (_, url):
        monkeypatch.setenv("BLOX_CSS_ENDPOINT", url)
        yield script


def test_it_ends_when_the_sweep_is_complete(
    service: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = [cluster_body(sweep=7), cluster_body(sweep=7), cluster_body(sweep=9, hosts=1, tasks=2)]
    service.looks = [(200, one) for one in looks]
    assert run(["clusters", "sweep", "demo", "--wait"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("demo was read completely in ")
    assert told.endswith(": 1 host, 2 tasks   sweep 9\n")


def test_a_service_that_begins_anew_is_asked_again(
    service: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    anew = [cluster_body(epoch="e2", sweep=0, age=None), cluster_body(epoch="e2", sweep=3)]
    service.looks = [(200, cluster_body()), (503, {"detail": "Not yet."})]
    service.looks += [(200, one) for one in anew]
    service.tickets += [ticket(3, "e2")]
    assert run(["clusters", "sweep", "demo", "--wait"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "the service was started anew: asked again"
    assert told[1].endswith("sweep 3")
    assert [path for path, _ in service.asked].count("/v2/clusters/demo/sweep") == 2


def test_why_it_takes_so_long_is_said_once(
    service: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [cluster_body(error="AccessDenied")] * 3
    service.looks = [(200, one) for one in (*failing, cluster_body(sweep=8))]
    assert run(["clusters", "sweep", "demo", "--wait"]) == 0
    told = capsys.readouterr().out
    assert told.count("reading fails, it is tried again: AccessDenied") == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_a_timeout_leaves_with_5_and_the_sweep_goes_on(
    service: Asked, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    service.looks = [(200, cluster_body(sweep=7))]
    words = ["clusters", "sweep", "demo", "--wait", "--timeout", "0"]
    assert run([*words, "--json"] if as_json else words) == 5
    told = capsys.readouterr().out
    if as_json:
        assert json.loads(told)["sweep"]["number"] == 7
    else:
        assert told.startswith("not complete after ")
        assert told.endswith("; it goes on by itself\n")
