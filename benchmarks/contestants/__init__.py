"""Every way to do a job that the benchmarks compare: functions that prepare and return the work.

The peers read the file by themselves and by nothing of stemcal, so that a fault in ours cannot be in theirs too.
"""
