"""What an epoch visits, in which order, with which random numbers."""
