"""The settings of a service: where they are read, what each of them means, which contradict each other."""

from bowerbird.settings.reading import DEFAULT_FILE, WrongSettings, find_file, load, service_at

__all__ = ["DEFAULT_FILE", "WrongSettings", "find_file", "load", "service_at"]
