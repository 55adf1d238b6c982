"""Paths whose last part has slashes, answers without a body, and /v1's words for filters."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from yarl import URL

from blox.http.app import create_app
from blox.http.metrics import Metrics
from blox.http.operations import Answer, Call, Operation, Parameter
from blox.http.server import address_of, bind, parse_address, serving
from blox.http.texts import UNSUPPORTED_FILTER
from support.served import run, served

ARN = "arn:aws:ecs:us-east-1:1:task/demo/abc"


async def _echo(call: Call) -> Answer:
    if call.query.values.get("known"):
        return Answer(status=304, headers={"etag": '"7"'})
    return Answer(body=dict(call.params))


def _operations() -> list[Operation]:
    return [
        Operation(
            method="GET",
            path="/v1/things/{place}/{arn:path}",
            id="getThing",
            summary="Show one",
            handle=_echo,
            path_parameters=(Parameter(name="arn", description="Its ARN."),),
            query=(Parameter(name="known", description=""),),
        ),
        Operation(method="GET", path="/v1/things", id="list", summary="List", handle=_echo),
        Operation(method="GET", path="/v1/things/{place}", id="all", summary="All", handle=_echo),
    ]


def asking(work: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with served(_operations()) as url, aiohttp.ClientSession(url) as session:
            await work(session)

    run(main())


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"/v1/things/x/{ARN}", {"place": "x", "arn": ARN}),
        (f"/v1/things/x/{ARN.replace('/', '%2F')}", {"place": "x", "arn": ARN}),
        (f"/v1/things/x/{ARN.replace(':', '%3A')}/", {"place": "x", "arn": ARN}),
        ("/v1/things/x/", {"place": "x"}),
        ("/v1/things/", {}),
    ],
)
def test_the_last_part_of_a_path_may_have_slashes(path: str, params: dict[str, str]) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.get(URL(path, encoded=True)) as answer:
            assert answer.status == 200
            assert await answer.json() == params

    asking(work)


def test_an_answer_that_nothing_has_changed_has_neither_a_body_nor_a_type() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.get("/v1/things/x/y?known=1") as answer:
            assert (answer.status, await answer.read()) == (304, b"")
            assert answer.headers["etag"] == '"7"'
            assert "content-type" not in answer.headers
        async with session.get("/v1/things") as answer:  # on the same connection
            assert answer.status == 200

    asking(work)


def test_a_part_with_slashes_is_documented_as_a_parameter() -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.get("/openapi.json") as answer:
            described = await answer.json()
        shown = described["paths"]["/v1/things/{place}/{arn}"]["get"]["parameters"]
        assert [(p["name"], p["in"], p["required"]) for p in shown[:2]] == [
            ("place", "path", True),
            ("arn", "path", True),
        ]
        assert shown[1]["description"] == (
            "Its ARN. It may have slashes, as they are or percent-encoded."
        )

    asking(work)


def test_each_service_has_its_own_words_for_a_filter_that_it_does_not_have() -> None:
    async def sentence(words: str) -> str:
        with bind(parse_address("127.0.0.1:0")) as listener:
            app = create_app(
                _operations(),
                title="test",
                version="1",
                ready=lambda: None,
                metrics=Metrics(version="test").render,
                local_only=True,
                unsupported_filter=words,
            )
            async with serving(app, listener), aiohttp.ClientSession() as session:
                url = f"http://{address_of(listener)}"
                async with session.get(f"{url}/v1/things?no=1") as answer:
                    assert answer.status == 400
                    return await answer.text()

    async def main() -> None:
        assert await sentence(UNSUPPORTED_FILTER) == (
            "At least one of the filters provided is not supported"
        )
        assert await sentence("Not that one") == "Not that one"

    asyncio.run(main())
