"""What devices tell each other while training: when, in how many bits, and how much of it."""
