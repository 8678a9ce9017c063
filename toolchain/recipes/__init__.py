"""Recipes that come with EFQ: TOML files read by efq.toolchain.recipes.recipe."""
