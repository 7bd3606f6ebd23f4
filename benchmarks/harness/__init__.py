"""What the benchmarks of all steps share: fresh processes, interleaved pairs, agreement, one table.

Standard library only, so that the process that starts the runs stays small: on Linux a child begins with the peak
memory of the process that started it.
"""
