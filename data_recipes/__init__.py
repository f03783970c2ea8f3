"""Recipes: a dataset's real columns in, samples out. One file per dataset family."""
