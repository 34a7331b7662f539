"""Upright pixels to crops, and boxes drawn on them. Pure arithmetic on arrays."""
