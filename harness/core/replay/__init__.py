"""Replay: one training of today held against the record of an earlier one, what it needs, and on which hardware."""
