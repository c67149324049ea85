"""Convolution and its transpose; the forms of both that are quicker where they fit."""
