"""Trials before a run: can it learn one batch, at which rate, with how large a batch."""
