"""Logs of every origin as judged rows."""
