"""Comparison, checks, negative controls, causes and the verdict: functions from values to values. Pure."""
