"""Python wheels and Debian packages: locks, the resolver, fetching, environments."""
