"""The ground: every record on the wire, and what all rooms share: errors, limits, the codec."""
