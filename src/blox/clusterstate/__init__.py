"""The view: a true, current copy of ECS clusters, made from events, sweeps and answers."""
