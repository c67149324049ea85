"""Activations, by the shape of their curve.

One file each for rectifiers (``relu``, ``leaky_relu``, ``prelu``), hard corners (``hardtanh``), shrinkages
(``softshrink``), sigmoids (``tanh``, ``softplus``), exponentials (``elu``, ``selu``), gates (``gelu``, ``silu``,
``glu``) and softmax; `funcnet.nn.activations` has the layers in files of the same names.
"""
