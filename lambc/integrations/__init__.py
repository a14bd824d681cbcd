"""A file for each training framework, with which a run is recorded without a loop of one's own.

    from lambc.integrations.lightning import TrustRatioCallback
    from lambc.integrations.transformers import TrustRatioCallback
    from lambc.integrations.accelerate import TrustRatioTracker
    from lambc.integrations.timm import register

Each is imported only when it is asked for, since it imports its framework.
"""
