"""What is compared: pairs files, images of which all pairs are, and whether that can mean anything."""
