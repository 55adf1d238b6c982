"""The floor of promptness: a process that calls StartTask for every new host in the queue.

    python -m benchmarks.echo QUEUE CLUSTER DEFINITION

No view, no plan, no store, no fence, no pacing: one receive, one parse and one signed call, with
blox's own HTTP. Nothing that decides anything can be quicker on this machine.
"""

import asyncio
import sys

import msgspec
import uvloop

from blox.app.aws import find_aws
from blox.base.clock import SystemClock
from blox.clusterstate.sqs import SqsSource
from blox.ecs.aws import ECS, SQS, AwsHttp
from blox.ecs.events import HostEvent, read_event


async def echo(queue: str, cluster: str, definition: str, *, receives: int = 4) -> None:
    """Answer the queue's new hosts until cancelled."""
    clock = SystemClock()
    aws = await find_aws(clock)
    source = SqsSource(queue, aws.transport(SQS, clock=clock), now=clock.wall)
    ecs = aws.transport(ECS, clock=clock)
    known: dict[str, None] = {}
    calls: set[asyncio.Task[None]] = set()

    async def receive() -> None:
        while True:
            messages = await source.receive()
            for message in messages:
                event = read_event(message.body)
                host = event.host.container_instance_arn if isinstance(event, HostEvent) else ""
                if host and host not in known:
                    known[host] = None
                    call = asyncio.create_task(_start(ecs, clock, cluster, host, definition))
                    calls.add(call)
                    call.add_done_callback(calls.discard)
            await source.delete(messages)

    await asyncio.gather(*(receive() for _ in range(receives)))


async def _start(
    ecs: AwsHttp, clock: SystemClock, cluster: str, host: str, definition: str
) -> None:
    asked = {"cluster": cluster, "taskDefinition": definition, "containerInstances": [host]}
    await ecs.send("StartTask", msgspec.json.encode(asked), date=clock.wall, permit=lambda: None)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(echo(*sys.argv[1:4]))
