"""A finished run, recomputed from its evidence."""
