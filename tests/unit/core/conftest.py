"""Makes `synthetic` importable for the tests in the folders below."""
