"""One page on which a whole session can be judged."""
