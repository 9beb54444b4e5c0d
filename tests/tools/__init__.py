"""Programs that people start: the development cluster, the demo, the bench, the linter."""
