"""Processes of other parents, as tests look at them."""

import psutil


def lives(pid: int) -> bool:
    """Tell whether a process runs; it may go away while it is looked at."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
