"""Keeping up with a cluster-state-service from the command line: over cuts, silence and resets."""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from blox.base.errors import InvalidInput, NotFound, Unavailable
from blox.cli import state_follow
from blox.cli.state_client import PositionExpired, StateClient
from blox.cli.state_follow import (
    CLUSTER,
    INSTANCE,
    KINDS,
    TASK,
    Back,
    Beat,
    Changed,
    Cut,
    Follower,
    Gone,
    Ill,
    Listed,
    News,
    Wanted,
)
from support.scripted_state import Scripted, scripted
from support.state_items import (
    Item,
    beat,
    cluster_body,
    deleted,
    instance_item,
    line,
    task_item,
)

EXPIRED: Item = {"status": 410, "detail": "This service cannot go on from x. List again."}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scripted, StateClient]]:
    """A service that answers as it is told, tried again after a moment."""
    monkeypatch.setattr(state_follow, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(state_follow, "_LONGEST_WAIT", 0.002)
    with scripted() as (script, url):
        script.lists["clusters"] = [cluster_body()]
        yield script, StateClient(url)


def heard(client: StateClient, number: int, wanted: Wanted | None = None) -> list[News]:
    """The first so many pieces of news, without heartbeats."""
    run = Follower(client, wanted or Wanted()).run()
    news = (one for one in run if not isinstance(one, Beat))
    return list(itertools.islice(news, number))


def told(news: Sequence[News]) -> list[str]:
    """Their kinds, and what they are about, in short."""
    said = []
    for one in news:
        if isinstance(one, Changed):
            was = "new" if one.before is None else one.before["version"]
            said.append(f"{one.kind} {was} -> {one.after['version']} {'found' * one.found}".strip())
        elif isinstance(one, Gone):
            said.append(f"{one.kind} gone {'found' * one.found}".strip())
        else:
            said.append(type(one).__name__)
    return said


# --- Lists ----------------------------------------------------------------------------------------


def test_a_list_comes_page_by_page_with_the_first_pages_position(
    service: tuple[Scripted, StateClient],
) -> None:
    script, client = service
    script.page = 2
    script.lists["tasks"] = [task_item(n) for n in range(5)]
    items, position = client.listing("/v2/tasks", {"cluster": "demo"})
    assert items == script.lists["tasks"]
    assert position == "k3f9p2.10"
    assert script.asked == [
        ("/v2/tasks", {"limit": "1000", "cluster": "demo", **more})
        for more in ({}, {"nextToken": "2"}, {"nextToken": "4"})
    ]


def test_who_does_not_answer_is_told_with_what_to_do() -> None:
    with pytest.raises(Unavailable) as nobody:
        StateClient("http://127.0.0.1:1").clusters()
    assert str(nobody.value) == (
        "No cluster-state-service answers at http://127.0.0.1:1: is it running? Start one with "
        "`cluster-state-service --store sqlite:state.db`, or say where it is with --css-endpoint "
        "or BLOX_CSS_ENDPOINT (--endpoint is the daemon-scheduler's)."
    )
    with pytest.raises(InvalidInput, match="--css-endpoint or BLOX_CSS_ENDPOINT"):
        StateClient("nowhere:port")


def test_a_scheduler_at_that_address_is_recognized(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.answers["GET /v2/status"] = 200, {"mode": "acting"}
    with pytest.raises(InvalidInput, match="is a daemon-scheduler, not a cluster-state-service"):
        client.get("/v2/nothing")
    script.answers["GET /v2/status"] = 200, {"name": "k3f9p2"}
    with pytest.raises(InvalidInput, match="is something else, not a cluster-state-service"):
        client.get("/v2/nothing")
    with pytest.raises(InvalidInput, match="with an address that has no path"):
        StateClient(f"{client.endpoint}/v2").get("/v2/nothing")
    script.answers["GET /v2/status"] = 200, {"epoch": "k3f9p2"}
    with pytest.raises(NotFound, match="There is nothing at /v2/nothing"):
        client.get("/v2/nothing")


# --- Streams --------------------------------------------------------------------------------------


def test_everything_is_listed_and_then_followed_from_there(
    service: tuple[Scripted, StateClient],
) -> None:
    script, client = service
    script.lists["tasks"] = [task_item(1, version=8)]
    script.lists["instances"] = [instance_item(1, version=3)]
    gone = deleted(script.lists["instances"][0], version=13)
    script.streams = [
        [
            beat(10),
            line("task", 11, task_item(1, version=11)),
            line("task", 12, task_item(2, version=12)),
            line("deleted", 13, gone),
            line("cluster", 14, cluster_body(version=14)),
        ]
    ]
    first, *news = heard(client, 5)
    assert isinstance(first, Listed)
    assert (first.position, first.reason) == ("k3f9p2.10", "")
    assert {kind: len(items) for kind, items in first.items.items()} == dict.fromkeys(KINDS, 1)
    assert told(news) == ["task 8 -> 11", "task new -> 12", "instance gone", "cluster 1 -> 14"]
    assert script.streamed() == [
        {"kinds": "clusters,instances,tasks", "position": "k3f9p2.10"},
    ]


def test_what_the_list_has_already_is_nothing_new(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.lists["tasks"] = [task_item(1, version=12)]
    unknown = deleted(task_item(2), version=12)
    stale = deleted(task_item(1), version=11)
    script.streams = [
        [
            line("task", 11, task_item(1, version=11)),
            line("deleted", 11, stale),
            line("deleted", 12, unknown),
            line("task", 13, task_item(1, version=13)),
        ]
    ]
    assert told(heard(client, 2)) == ["Listed", "task 12 -> 13"]


def test_a_stream_that_is_cut_goes_on_where_it_was(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    half = b'{"event":"task","position":"k3f'
    script.streams = [
        [beat(10), line("task", 11, task_item(1, version=11)), half],
        {"status": 503, "detail": "Not now."},
        [beat(11), line("task", 12, task_item(2, version=12))],
    ]
    news = heard(client, 6)
    assert told(news) == ["Listed", "task new -> 11", "Cut", "Cut", "Back", "task new -> 12"]
    cuts = [one.why for one in news if isinstance(one, Cut)]
    assert cuts == [f"the stream of {client.endpoint} ended: the connection was closed", "Not now."]
    assert [one["position"] for one in script.streamed()] == [
        "k3f9p2.10",
        "k3f9p2.11",
        "k3f9p2.11",
    ]


@pytest.mark.parametrize("garbled", [b"<html>\n", b'"text"\n', b"{}\n"])
def test_what_is_no_line_of_a_stream_cuts_it(
    service: tuple[Scripted, StateClient], garbled: bytes
) -> None:
    script, client = service
    script.streams = [[garbled]]
    _, cut = heard(client, 2)
    assert isinstance(cut, Cut)
    assert cut.why.endswith("what it says is no line of a stream")


def test_what_is_wrong_with_the_service_is_told_when_it_changes(
    service: tuple[Scripted, StateClient],
) -> None:
    script, client = service
    ill = {"sentence": "No queue.", "nextStep": "mend it"}
    script.answers["GET /v2/status"] = 200, {"conditions": [ill]}
    script.streams = [[beat(11), beat(12)]]
    run = (one for one in Follower(client, Wanted()).run() if not isinstance(one, Beat))
    listed, told_first = itertools.islice(run, 2)
    assert isinstance(listed, Listed)
    assert told_first == Ill(("No queue -> mend it",))
    script.answers["GET /v2/status"] = 200, {"conditions": []}
    assert next(run) == Ill(())


def test_silence_is_as_good_as_a_cut(service: tuple[Scripted, StateClient]) -> None:
    _, client = service
    with client.stream({}, timeout=0.05) as stream, pytest.raises(Unavailable) as silent:
        next(iter(stream))
    assert str(silent.value).endswith("not a word, not even a heartbeat")


def test_an_expired_position_means_to_list_again_and_tell_the_difference(
    service: tuple[Scripted, StateClient],
) -> None:
    script, client = service
    script.lists["tasks"] = [task_item(n, version=n) for n in (1, 2, 3)]
    run = Follower(client, Wanted()).run()
    assert isinstance(next(run), Listed)
    script.lists["tasks"] = [
        task_item(1, version=21),
        task_item(3, version=22, lastStatus="STOPPED"),
        task_item(4, version=23),
    ]
    script.position = "k3f9p2.30"
    script.streams = [EXPIRED, [line("task", 31, task_item(5, version=31))]]
    again, *news = itertools.islice(run, 5)
    assert isinstance(again, Listed)
    assert (again.position, again.reason) == ("k3f9p2.30", "This service cannot go on from x")
    assert told(news) == [
        "task gone found",
        "task 3 -> 22 found",
        "task new -> 23 found",
        "task new -> 31",
    ]


def test_a_reset_means_to_list_again(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.streams = [[line("reset", 11, {"reason": "This watcher is too slow."})]]
    _, again = heard(client, 2)
    assert isinstance(again, Listed)
    assert again.reason == "This watcher is too slow."


def test_listing_again_is_tried_until_it_succeeds(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    run = Follower(client, Wanted()).run()
    next(run)
    script.streams = [EXPIRED]
    script.answers["GET /v2/tasks"] = 503, {"detail": "Not yet."}
    assert told(list(itertools.islice(run, 2))) == ["Cut", "Cut"]
    del script.answers["GET /v2/tasks"]
    assert told(list(itertools.islice(run, 1))) == ["Listed"]


@pytest.mark.parametrize("listed", [True, False])
def test_what_a_cluster_that_was_not_read_lacks_is_not_called_gone(
    service: tuple[Scripted, StateClient],
    listed: bool,
) -> None:
    script, client = service
    kept, ended = task_item(1, version=5), task_item(2, version=6)
    script.lists["tasks"] = [kept, ended]
    run = (one for one in Follower(client, Wanted()).run() if not isinstance(one, Beat))
    next(run)
    script.lists["tasks"] = []
    script.lists["clusters"] = [cluster_body(primed=False)] if listed else []
    read = line("cluster", 9, cluster_body(version=9))
    script.streams = [EXPIRED, [read]]
    news = ["Listed", "cluster 1 -> 1 found"] if listed else ["Listed"]
    assert told(list(itertools.islice(run, len(news)))) == news
    script.lists["tasks"] = [kept]
    script.lists["clusters"] = [cluster_body(version=9)]
    primed, again, gone = itertools.islice(run, 3)
    assert told([primed, gone]) == [f"cluster {int(listed)} -> 9", "task gone found"]
    assert isinstance(again, Listed)
    assert again.reason == "demo has been read completely"
    assert isinstance(gone, Gone)
    assert gone.before["arn"] == ended["arn"]


# --- What is followed -----------------------------------------------------------------------------


def test_one_cluster_is_asked_for_and_several_are_picked_out(
    service: tuple[Scripted, StateClient],
) -> None:
    script, client = service
    bodies = [cluster_body(name) for name in ("demo", "edge", "prod")]
    script.lists["clusters"] = bodies
    changes = [
        line("task", 11, task_item(1, cluster="prod", version=11)),
        line("cluster", 12, cluster_body("prod", version=12)),
        line("task", 13, task_item(2, cluster="edge", version=13)),
    ]
    script.streams = [changes, [changes[-1]]]
    news = heard(client, 2, Wanted(clusters=(bodies[0], bodies[1])))
    assert told(news) == ["Listed", "task new -> 13"]
    assert isinstance(news[0], Listed)
    assert [one["name"] for one in news[0].items[CLUSTER]] == ["demo", "edge"]
    assert "cluster" not in script.streamed()[0]
    heard(client, 2, Wanted(clusters=(bodies[1],)))
    assert script.streamed()[1]["cluster"] == bodies[1]["arn"]


def test_filters_are_the_tasks(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.streams = [[line("task", 11, task_item(1, version=11))]]
    heard(client, 2, Wanted(filters={"group": "web"}))
    asked = {path: query.get("group") for path, query in script.asked}
    assert asked == {
        "/v2/clusters": None,
        "/v2/instances": None,
        "/v2/tasks": "web",
        "/v2/status": None,
        "/v2/stream": "web",
    }


def test_kinds_that_nobody_asked_for_are_not_listed(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.streams = [
        [line("instance", 11, instance_item(1)), line("task", 12, task_item(1, version=12))]
    ]
    news = heard(client, 2, Wanted(kinds=(TASK,)))
    assert told(news) == ["Listed", "task new -> 12"]
    assert [path for path, _ in script.asked] == ["/v2/tasks", "/v2/stream"]
    assert INSTANCE not in (news[0].items if isinstance(news[0], Listed) else {INSTANCE: ()})


def test_the_first_list_must_succeed(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.answers["GET /v2/clusters"] = 503, {"detail": "Not ready."}
    with pytest.raises(Unavailable, match="Not ready"):
        next(Follower(client, Wanted()).run())


def test_a_refusal_is_told_and_not_tried_again(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.streams = [{"status": 400, "detail": "There is no such kind."}]
    with pytest.raises(InvalidInput, match="no such kind"):
        heard(client, 2)


def test_an_expired_position_is_told_in_one_sentence(
    service: tuple[Scripted, StateClient],
) -> None:
    script, client = service
    script.streams = [EXPIRED, {"status": 410}]
    with pytest.raises(PositionExpired, match=r"^This service cannot go on from x$"):
        client.stream({})
    with pytest.raises(PositionExpired, match=r"no longer knows what has changed since$"):
        client.stream({})


def test_what_is_no_stream_is_not_taken_for_one(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.streams = [{"status": 200}]
    with pytest.raises(Unavailable, match="is not a cluster-state-service's API"):
        client.stream({})


def test_a_gap_is_told_with_its_length(service: tuple[Scripted, StateClient]) -> None:
    script, client = service
    script.streams = [[], [beat(10)]]
    news = heard(client, 3)
    assert told(news) == ["Listed", "Cut", "Back"]
    back = news[-1]
    assert isinstance(back, Back)
    assert 0.0 <= back.seconds < 30.0
