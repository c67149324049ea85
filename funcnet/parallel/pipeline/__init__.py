"""Pipelines: the blocks of an nn.Repeat spread over devices as stages, each microbatch going from one to the next."""
