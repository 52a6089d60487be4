"""Logs of every origin as evaluation rows."""
