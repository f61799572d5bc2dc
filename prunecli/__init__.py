"""prunecli: prune neural networks from the shell, one safetensors file to the next."""

__version__ = "0.1.0"
