"""Weights and activations in few bits: kept so, trained so, computed so."""
