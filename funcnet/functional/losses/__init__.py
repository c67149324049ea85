"""Losses, by what they compare.

Numbers (regression, likelihood), yes-or-no answers (binary), classes (cross_entropy, margin), vectors
(embedding, triplet) or label sequences (ctc). All take ``reduction=`` and ``where=``, which reductions
explains; `funcnet.nn.losses` has the layers in files of the same names.
"""
