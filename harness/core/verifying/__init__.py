"""Verify: documents read without trust, the case rebuilt of them, and what came of judging it again."""
