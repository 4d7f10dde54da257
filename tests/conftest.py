"""Tests run on every backend that works here; test_backends.py says which must."""

import pytest

import tinytensor as tt

BACKENDS = list(tt.available_backends())


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each backend in turn, in use during the test."""
    with tt.backend(request.param):
        yield request.param
