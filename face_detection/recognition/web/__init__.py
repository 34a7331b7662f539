"""HTTP: requests become values, one call of the service, and values become JSON.

Status numbers stay in here.
"""
