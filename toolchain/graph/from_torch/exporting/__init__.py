"""A network as torch.export sees it."""
