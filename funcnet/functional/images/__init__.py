"""Functions of signals, images and volumes that move, resize or read pixels."""
