"""What the routes call: accepts requests, reports on tasks, hands out results, ends and removes tasks."""
