"""Backbones of the regressor and of feature extractors."""
