"""The answer of an evaluation as one page that needs no network."""
