"""Models and data: fetched, verified and unpacked."""
