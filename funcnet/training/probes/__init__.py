"""What a layer has learned: a linear probe, and how alike two layers are."""
