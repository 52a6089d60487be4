"""Policies: what maps a context and its actions to a probability mass function, and learns from rewards.

Pure: no broker, no store, no clock. It imports `records` alone.
"""
