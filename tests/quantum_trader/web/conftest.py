"""What tests of the trader's web share: a gateway that ends with the test."""

from tests.eventbus.gateway.conftest import serving

__all__ = ["serving"]
