"""Measures how strongly each detector pixel answers, on a scan under a uniform beam."""
