"""What every other folder leans on: dotted paths, keys, argument checks, errors that teach.

Rank 0: imports nothing of funcnet.
"""
