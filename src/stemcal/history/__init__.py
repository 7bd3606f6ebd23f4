"""Gold calibrations of one instrument over time."""
