"""Simulators with known truth, from one diffraction pattern to a whole session on disk."""
