"""The review's effects: lists trees, reads files in processes of their own, runs a probe."""
