"""What PyTorch keeps in ``torch.nn.utils``."""

from funcnet.nn.utils import rnn as rnn
