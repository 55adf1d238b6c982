"""Amazon ECS as blox needs it: its documents, port, errors, and the client that speaks it."""
