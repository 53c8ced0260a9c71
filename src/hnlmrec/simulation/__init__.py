"""The theory, tested: worlds with planted preferences, and the gradient bias of each sampler in them."""
