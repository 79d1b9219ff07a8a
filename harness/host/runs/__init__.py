"""Runs: the sandboxes, the campaign of trajectories, and the evidence that they leave."""
