"""The 4-D stack as a stream of blocks: sources, the block plan, threads and MPI ranks."""
