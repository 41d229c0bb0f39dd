"""What a study found, for a person: statistics across runs, figures, and one self-contained page."""
