"""Following another cluster-state-service instead of reading ECS (R12)."""
