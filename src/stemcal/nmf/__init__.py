"""Non-negative factorisation of the radial profiles of one scan or of many."""
