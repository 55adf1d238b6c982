"""Many watchers of one cluster-state-service: `python -m benchmarks.watch_clients PORT COUNT`.

Each follows /v2/stream of instances. Prints "ready" once every stream has begun; when its standard
input ends, prints as JSON what the watchers saw: for each ARN and version of ECS's, the latest time
(CLOCK_MONOTONIC, which all processes of a machine share) at which a watcher had read it, and by how
many it was read.
"""

import asyncio
import json
import sys
import time
from typing import Final

import uvloop

_REQUEST: Final = "GET /v2/stream?kinds=instances HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"


class Seen:
    """What all watchers saw."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.by: dict[str, int] = {}

    def line(self, line: bytes) -> None:
        """One line of a stream."""
        told = json.loads(line)
        if told["event"] != "instance":
            return
        instance = told["data"]["instance"]
        key = f"{told['data']['arn']} {instance['version']}"
        self.last[key] = time.monotonic()
        self.by[key] = self.by.get(key, 0) + 1


async def watch(port: int, seen: Seen, begun: asyncio.Event) -> None:
    """Follow until cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4_194_304)
    writer.write(_REQUEST.format(port=port).encode())
    await reader.readuntil(b"\r\n\r\n")
    held = b""
    while True:
        size = int((await reader.readline()).strip() or b"0", 16)
        if size == 0:
            raise RuntimeError("the stream has ended")
        chunk = await reader.readexactly(size)
        await reader.readexactly(2)
        begun.set()
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                seen.line(line)


async def main(port: int, count: int) -> None:
    """Watch until standard input ends."""
    seen = Seen()
    begun = [asyncio.Event() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(watch(port, seen, event)) for event in begun]
        for event in begun:
            await event.wait()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps({"last": seen.last, "by": seen.by}), flush=True)
        for watcher in watchers:
            watcher.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
