"""``discover``: a raw session folder becomes one frozen manifest."""
