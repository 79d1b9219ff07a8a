"""Python packages: locks, the resolver, wheels, environments, interpreters."""
