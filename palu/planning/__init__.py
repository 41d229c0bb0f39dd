"""What a study will read, run and need, said before anything runs. Reads no weights and asks no hub."""
