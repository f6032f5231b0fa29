"""Coordination between processes on one store: leases, schedules, the read-only switch, budgets."""
