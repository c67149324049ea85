"""The loop: how long, in which order, what happens when it is interrupted, fails or goes on."""
