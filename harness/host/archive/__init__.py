"""The archive of a run: one file that can be verified offline, written and read without unpacking it."""
