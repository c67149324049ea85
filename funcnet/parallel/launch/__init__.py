"""Jobs of several processes: started, watched, and ended as a whole."""

from funcnet.parallel.launch.starting import JobProcess, alive, start

__all__ = ["JobProcess", "alive", "start"]
