"""Inputs: fetched, verified, unpacked."""
