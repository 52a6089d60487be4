"""The commands, a module each. What is slow to import is imported when its command runs."""
