"""Binds the reference that fits to a data set, and measures the data set's own origin and descan."""
