"""Mail merge for people who campaign: plan, see, rehearse, send, report."""

__version__ = "0.1.0"
