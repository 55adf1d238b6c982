"""What every other package stands on: errors, identifiers, time, randomness, queues and tasks."""
