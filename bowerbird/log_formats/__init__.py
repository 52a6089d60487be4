"""Logs by their formats: each is a module whose ``FORMAT`` opens logs; the registry is ``Format`` of replay."""
