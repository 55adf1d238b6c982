"""The composition root: the daemon-scheduler over real AWS, a real disk and a real socket.

    plan      what the command line asks for
    aws       region, endpoints and credentials
    reads     an ECS that can only be read, for observing
    meter     what calls to AWS came to: metrics, conditions
    delays    from an event to the start call that it causes
    told      what the log says of this process and of its calls
    compose   the parts put together
    serving   from the bound socket to the exit code

The only modules that name adapters; beside them only `blox.simulator.world` puts things together.
Nothing heavy is imported here: the command line binds its socket before it imports `serving`.
"""
