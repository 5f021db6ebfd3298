"""The cell types of the competition's full training set, in whose proportions the scripts beside this one score (docs/ablation.md)."""

FULL_SET_IMAGES = {"shsy5y": 155, "astro": 131, "cort": 320}
"""Images of each."""
