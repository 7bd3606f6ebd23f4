"""The sections of ``benchmarks/convert.py``; standard library only, like the harness, see there."""
