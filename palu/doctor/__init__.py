"""`palu doctor`: what the machine has, what a study would use of it, and what is lacking."""

from palu.doctor.examine import examine
from palu.doctor.findings import Report

__all__ = ["Report", "examine"]
