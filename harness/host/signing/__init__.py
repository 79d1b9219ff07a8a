"""Signing: private keys on this machine, and which public keys it knows."""
