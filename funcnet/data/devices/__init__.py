"""From the host to the devices of all processes: which part of a batch is whose, what fills it, how it gets there."""
