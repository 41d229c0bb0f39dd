"""Prefix-aware localized unlearning: make a language model forget named facts, and prove what it forgot."""

__version__ = "0.1.0"
