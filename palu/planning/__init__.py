"""What a study will read, run and need, told before anything runs. Loads no torch and asks no hub."""
