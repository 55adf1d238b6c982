"""Streams: what watchers are sent, when, in which form, and what is shared between them."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from blox.base.errors import Unavailable
from blox.http.forms import EVENTS, ITEMS, LINES, Form, asked_for
from blox.http.ring import Ring
from blox.http.streams import (
    FALLEN_BEHIND,
    MOST_BYTES,
    TOO_SLOW,
    Place,
    Selection,
    Shown,
    Watcher,
    Watchers,
)
from blox.simulator import loop


class Bench:
    """Watchers of a ring of texts."""

    def __init__(self, *, kept: int = 10_000, **options: Any) -> None:
        self.ring: Ring[str] = Ring(kept=kept)
        self.counts: list[int] = []
        self.watchers: Watchers[str] = Watchers(self.ring, counted=self.counts.append, **options)
        self.encoded = 0

    def put(self, *texts: str) -> None:
        for text in texts:
            self.ring.put(text)

    def everything(self) -> Selection[str]:
        def tell(text: str, _: int) -> Shown:
            self.encoded += 1
            return Shown("text", json.dumps(text).encode())

        return Selection("everything", tell)

    def watch(
        self,
        form: Form = LINES,
        *,
        after: int | None = None,
        selection: Selection[str] | None = None,
        begin: bytes | None = None,
    ) -> Watcher[str]:
        return self.watchers.watch(
            selection or self.everything(),
            form,
            after=self.ring.last if after is None else after,
            begin=begin,
        )


def now() -> float:
    return asyncio.get_running_loop().time()


def run(scene: Coroutine[Any, Any, None]) -> None:
    loop.run(scene)


async def after(seconds: float, act: Any) -> None:
    """Let something happen later."""
    asyncio.get_running_loop().call_later(seconds, act)


def lines(chunk: bytes) -> list[Any]:
    assert chunk.endswith(b"\n")
    return [json.loads(line) for line in chunk.splitlines()]


def texts(chunk: bytes) -> list[str]:
    return [line["data"] for line in lines(chunk)]


# --- Forms ----------------------------------------------------------------------------------------


def test_an_entry_in_each_form() -> None:
    entry = ("task", "k3f9p2.7", b'{"a":1}')

    assert LINES.line(*entry) == b'{"event":"task","position":"k3f9p2.7","data":{"a":1}}\n'
    assert EVENTS.line(*entry) == b'event: task\nid: k3f9p2.7\ndata: {"a":1}\n\n'
    assert ITEMS.line(*entry) == b'{"a":1}\n'


@pytest.mark.parametrize("form", [LINES, EVENTS, ITEMS])
def test_json_that_was_sent_in_many_lines_stays_one_entry(form: Form) -> None:
    spread = b'{\r\n  "a": "x\\ny",\r  "b": [1,\n2]\n}'
    sent = form.line("task", "1", spread)

    plain = form.line("task", "1", b'{"a": "x\\ny", "b": [1, 2]}')
    assert (sent.count(b"\n"), sent.count(b"\r")) == (plain.count(b"\n"), 0)
    data = sent.split(b"data: ")[-1] if form is EVENTS else sent
    found = json.loads(data)
    assert (found["data"] if form is LINES else found) == {"a": "x\ny", "b": [1, 2]}


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream; q=0.9", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q=0.0, */*", False),
        ("*/*", False),
        ("", False),
        (";,;", False),
    ],
)
def test_a_form_is_chosen_by_its_name(accept: str, asked: bool) -> None:
    assert asked_for(accept, "text/event-stream") is asked


# --- What is sent ---------------------------------------------------------------------------------


def test_the_first_bytes_come_at_once_and_name_the_position() -> None:
    async def scene() -> None:
        bench = Bench(token=lambda number: f"here.{number}")
        bench.put("a", "b")
        first = await anext(bench.watch())
        assert lines(first) == [
            {"event": "heartbeat", "position": "here.2", "data": {"position": "here.2"}}
        ]
        assert await anext(bench.watch(begin=b"hello\n")) == b"hello\n"
        assert now() == 0

    run(scene())


def test_what_came_together_is_sent_together_and_in_order() -> None:
    async def scene() -> None:
        bench = Bench()
        watcher = bench.watch()
        await anext(watcher)
        await after(3.0, lambda: bench.put("a", "b", "c"))
        chunk = await anext(watcher)
        assert now() == 3.0
        assert texts(chunk) == ["a", "b", "c"]
        assert [line["position"] for line in lines(chunk)] == ["1", "2", "3"]

    run(scene())


def test_items_say_nothing_else() -> None:
    async def scene() -> None:
        bench = Bench()
        watcher = bench.watch(ITEMS)
        await after(100.0, lambda: bench.put("a"))
        assert await anext(watcher) == b'"a"\n'
        assert now() == 100.0

    run(scene())


def test_a_change_before_anything_was_awaited_is_not_lost() -> None:
    async def scene() -> None:
        bench = Bench()
        watcher = bench.watch(ITEMS)
        step = asyncio.ensure_future(anext(watcher))
        asyncio.get_running_loop().call_soon(bench.put, "a")
        assert await asyncio.wait_for(step, 1.0) == b'"a"\n'

    run(scene())


def test_chunks_have_at_most_64_kb_unless_one_entry_is_larger() -> None:
    async def scene() -> None:
        bench = Bench()
        watcher = bench.watch()
        await anext(watcher)
        many = [f"{number:04d}" + "x" * 996 for number in range(200)]
        bench.put(*many, "y" * 100_000, "z")
        got: list[str] = []
        sizes = []
        while len(got) < 202:
            chunk = await anext(watcher)
            sizes.append(len(chunk))
            got += texts(chunk)
        assert got == [*many, "y" * 100_000, "z"]
        assert len(sizes) == 6
        assert [size for size in sizes if size > MOST_BYTES] == [sizes[-2]]
        assert min(sizes[:3]) > MOST_BYTES - 1100

    run(scene())


def test_what_is_not_wanted_moves_the_position_on() -> None:
    async def scene() -> None:
        bench = Bench()
        wanted: Selection[str] = Selection(
            "b", lambda text, _: Shown("text", b'"b"') if text == "b" else None
        )
        watcher = bench.watch(selection=wanted)
        await anext(watcher)
        bench.put("a", "b", "a", *["a"] * 5000)
        assert lines(await anext(watcher)) == [{"event": "text", "position": "2", "data": "b"}]
        beat = await anext(watcher)
        assert now() == pytest.approx(15.0)
        assert lines(beat)[0]["position"] == "5003"

    run(scene())


# --- Heartbeats -----------------------------------------------------------------------------------


def test_a_heartbeat_comes_after_15_seconds_without_anything_else() -> None:
    async def scene() -> None:
        bench = Bench()
        watcher = bench.watch(EVENTS)
        await anext(watcher)
        for due in (15.0, 30.0):
            assert await anext(watcher) == b'event: heartbeat\nid: 0\ndata: {"position":"0"}\n\n'
            assert now() == pytest.approx(due)
        await after(10.0, lambda: bench.put("a"))
        assert b"event: text" in await anext(watcher)
        assert now() == pytest.approx(40.0)
        assert b"event: heartbeat\nid: 1\n" in await anext(watcher)
        assert now() == pytest.approx(55.0)

    run(scene())


def test_items_have_no_heartbeats() -> None:
    async def scene() -> None:
        bench = Bench()
        step = asyncio.ensure_future(anext(bench.watch(ITEMS)))
        await asyncio.sleep(1000.0)
        assert not step.done()
        step.cancel()

    run(scene())


# --- Resuming, and what cannot be resumed ---------------------------------------------------------


def test_a_watcher_goes_on_where_it_was() -> None:
    async def scene() -> None:
        bench = Bench()
        bench.put("a", "b", "c")
        watcher = bench.watch(after=1)
        await anext(watcher)
        assert texts(await anext(watcher)) == ["b", "c"]

    run(scene())


def test_what_is_not_kept_any_more_is_told_by_a_reset_and_the_end() -> None:
    async def scene() -> None:
        bench = Bench(kept=3)
        watcher = bench.watch()
        silent = bench.watch(ITEMS)
        await anext(watcher)
        bench.put("a", "b", "c", "d")
        last = await anext(watcher)
        assert lines(last) == [
            {"event": "reset", "position": "4", "data": {"reason": FALLEN_BEHIND}}
        ]
        for ended in (watcher, silent):
            with pytest.raises(StopAsyncIteration):
                await anext(ended)
        assert len(bench.watchers) == 0

    run(scene())


def slow(
    bench: Bench, *, came: int, stuck: float, form: Form = LINES
) -> Coroutine[Any, Any, bytes | None]:
    """What a watcher gets next, one chunk of which was stuck while entries came."""

    async def scene() -> bytes | None:
        watcher = bench.watch(form)
        bench.put("first")
        chunk = await anext(watcher)
        if form is not ITEMS:
            chunk = await anext(watcher)
        assert b"first" in chunk
        bench.put(*("x" for _ in range(came)))
        await asyncio.sleep(stuck)
        return await anext(watcher, None)

    return scene()


@pytest.mark.parametrize(
    ("came", "stuck", "reset"),
    [(1001, 1.5, True), (1000, 1.5, False), (5000, 0.5, False)],
)
def test_a_reader_that_is_too_slow_is_told_to_list_again(
    came: int, stuck: float, reset: bool
) -> None:
    async def scene() -> None:
        bench = Bench(most_behind=1000)
        chunk = await slow(bench, came=came, stuck=stuck)
        assert chunk is not None
        told = lines(chunk)
        assert ([line["data"] for line in told] == [{"reason": TOO_SLOW}]) is reset
        assert (told[0]["event"] == "reset") is reset

    run(scene())


def test_a_form_without_words_just_ends_for_who_is_too_slow() -> None:
    async def scene() -> None:
        assert await slow(Bench(most_behind=10), came=11, stuck=2.0, form=ITEMS) is None

    run(scene())


def test_a_burst_is_no_slowness_of_who_waited() -> None:
    async def scene() -> None:
        bench = Bench(most_behind=10)
        watcher = bench.watch()
        await anext(watcher)
        await after(5.0, lambda: bench.put(*(f"{n}" for n in range(5000))))
        got: list[str] = []
        while len(got) < 5000:
            got += texts(await anext(watcher))
        assert got == [f"{n}" for n in range(5000)]

    run(scene())


# --- Many -----------------------------------------------------------------------------------------


def test_a_hundred_watchers_share_what_is_encoded_once() -> None:
    async def scene() -> None:
        bench = Bench()
        many = [bench.watch() for _ in range(100)]
        for watcher in many:
            await anext(watcher)
        steps = [asyncio.ensure_future(anext(watcher)) for watcher in many]
        await asyncio.sleep(1.0)
        bench.put("a", "b")
        chunks = await asyncio.gather(*steps)
        assert texts(chunks[0]) == ["a", "b"]
        assert len({id(chunk) for chunk in chunks}) == 1
        assert bench.encoded == 2

    run(scene())


def test_watchers_in_other_forms_or_with_other_wishes_share_nothing() -> None:
    async def scene() -> None:
        bench = Bench()
        other: Selection[str] = Selection("other", lambda text, _: Shown("other", b"0"))
        three = (bench.watch(LINES), bench.watch(EVENTS), bench.watch(LINES, selection=other))
        for watcher in three:
            await anext(watcher)
        bench.put("a")
        got = [await anext(watcher) for watcher in three]
        assert got[0].startswith(b'{"event":"text"')
        assert got[1].startswith(b"event: text\n")
        assert got[2].startswith(b'{"event":"other"')

    run(scene())


def test_streams_are_counted_while_they_last() -> None:
    async def scene() -> None:
        bench = Bench()
        first, second = bench.watch(), bench.watch()
        assert len(bench.watchers) == 0
        await anext(first)
        await anext(second)
        await first.aclose()
        await first.aclose()
        waiting = asyncio.ensure_future(anext(second))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        await second.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(second)
        assert bench.counts == [1, 2, 1, 0]
        await asyncio.sleep(1.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scene())


def test_a_stream_that_nobody_read_was_never_there() -> None:
    async def scene() -> None:
        bench = Bench()
        await bench.watch().aclose()
        assert bench.counts == []

    run(scene())


def test_following_begins_anew_after_all_have_left() -> None:
    async def scene() -> None:
        bench = Bench()
        for round_ in range(3):
            watcher = bench.watch()
            await anext(watcher)
            await after(1.0, lambda: bench.put("a"))
            assert texts(await anext(watcher)) == ["a"], round_
            await watcher.aclose()

    run(scene())


def test_too_many_streams_are_refused() -> None:
    async def scene() -> None:
        bench = Bench(most=2)
        first, second = bench.watch(), bench.watch()
        await anext(first)
        await anext(second)
        with pytest.raises(Unavailable, match="2 streams are open here"):
            bench.watch()
        await first.aclose()
        assert await anext(bench.watch())

    run(scene())


def test_a_feed_that_breaks_ends_its_streams_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Breaking(Ring[str]):
        async def news(self, position: int) -> None:
            await asyncio.sleep(2.0)
            raise RuntimeError("broken")

    async def scene() -> None:
        watchers: Watchers[str] = Watchers(Breaking(kept=1))
        selection: Selection[str] = Selection(0, lambda text, _: Shown("text", b"0"))
        watcher = watchers.watch(selection, LINES, after=0)
        await anext(watcher)
        with pytest.raises(StopAsyncIteration):
            await anext(watcher)
        assert now() == 2.0
        assert len(watchers) == 0

    run(scene())


# --- Entries that cover others --------------------------------------------------------------------


class Log:
    """A feed that leaves out what has changed again since: numbers and names."""

    floor = 0

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.last = 0

    def change(self, *names: str) -> None:
        for name in names:
            self.last += 1
            self.entries.pop(name, None)
            self.entries[name] = self.last

    def after(self, position: int) -> Any:
        return ((n, name) for name, n in list(self.entries.items()) if n > position)

    async def news(self, position: int) -> None:
        while self.last <= position:
            await asyncio.sleep(0.1)


COVERING: Selection[str] = Selection(
    "covering",
    lambda name, _: Shown("sweep" if name.isupper() else "task", json.dumps(name).encode()),
    str.isupper,
)


def test_what_covers_others_comes_after_them_though_they_have_changed_again() -> None:
    log = Log()
    log.change("a", "b", "SWEPT", "b", "c")
    watchers: Watchers[str] = Watchers(log)

    data, place = watchers.chunk(COVERING, LINES, Place(0, 0))

    told = lines(data)
    assert [line["data"] for line in told] == ["a", "b", "c", "SWEPT"]
    assert [line["position"] for line in told] == ["1", "2", "2", "5"]
    assert place == Place(5, 5)


def test_it_is_held_back_over_many_chunks() -> None:
    log = Log()
    log.change("a", "FIRST", "b", "c", "SECOND", "d")
    watchers: Watchers[str] = Watchers(log, most_bytes=50)
    place, told = Place(0, 0), []

    for _ in range(3):
        data, place = watchers.chunk(COVERING, LINES, place)
        told += lines(data)
    assert (place.position, place.known, place.held) == (5, 0, 1)
    log.change("b", "FIRST")
    while place.position < log.last:
        data, place = watchers.chunk(COVERING, LINES, place)
        told += lines(data)

    assert [line["data"] for line in told] == ["a", "b", "c", "d", "b", "SECOND", "FIRST"]
    assert [line["position"] for line in told] == ["1", "1", "1", "1", "1", "1", "8"]


def test_one_that_is_not_wanted_holds_nothing_back() -> None:
    log = Log()
    log.change("a", "SWEPT", "b")
    watchers: Watchers[str] = Watchers(log)
    tasks: Selection[str] = Selection(
        "tasks", lambda name, _: None if name.isupper() else Shown("task", b"0"), str.isupper
    )

    data, _ = watchers.chunk(tasks, LINES, Place(0, 0))

    assert [line["position"] for line in lines(data)] == ["1", "3"]
