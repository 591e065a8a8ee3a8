"""The core of the recommender."""

__version__ = "0.1.0"
