"""Verification sets in one file (.bin), as InsightFace packs them: a pickle of images and labels, read as data."""
