"""The front door: the command, its settings, the processes of the roles, and the demo."""

__version__ = "0.1.0"
