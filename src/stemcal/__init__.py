"""Unattended batch workflow for 4D-STEM sessions."""

__version__ = "0.1.0"
