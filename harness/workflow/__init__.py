"""The flows, each readable from top to bottom as a table of contents."""
