"""Pure values and functions: no clock, no subprocess, no network, no randomness, no torch."""
