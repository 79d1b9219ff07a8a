"""What runs leave behind, read from bytes that nobody has to trust: digests, ledgers, tensor files. Pure."""
