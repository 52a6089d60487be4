"""The constants of splitmix64 (Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators)."""

MIX_1, MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The multipliers of its finaliser, mix64variant13."""
GOLDEN = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: the step of the generator, and a multiplier that spreads."""
