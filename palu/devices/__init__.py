"""The GPUs of a machine, and how jobs that run side by side come to use different ones. Loads no torch."""

from palu.devices.leases import HELD, Lease, job_slots, leased, take
from palu.devices.listing import VISIBLE, Gpu, ask, installed, parse, usable

__all__ = ["HELD", "VISIBLE", "Gpu", "Lease", "ask", "installed", "job_slots", "leased", "parse", "take", "usable"]
