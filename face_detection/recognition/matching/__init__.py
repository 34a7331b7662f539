"""Distances between vectors, and the nearest of many. Pure arithmetic on arrays."""
