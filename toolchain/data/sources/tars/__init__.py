"""Tars of images: folders by person, or WebDataset's samples with labels; never unpacked."""
