"""A simulated ECS: in process under virtual time, and over HTTP with the real wire protocols."""
