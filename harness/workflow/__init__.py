"""The flows, each readable from top to bottom. Only this room calls both `host` (effects) and `report` (presenters)."""
