"""Make the dictionary: a row for each public name of PyTorch, with what it is called here, or why it is not there.

`collect` writes PyTorch's names and arguments to a file, so that building the pages needs no PyTorch; what funcnet has
for a name, its own errors say (`funcnet.core.torch_hints`), so that the dictionary and the errors are one table.
"""

from docs.generation.dictionary.pages import pages

__all__ = ["pages"]
