"""Verifying what somebody archived: opened, its signatures checked, its evidence read and judged again."""
