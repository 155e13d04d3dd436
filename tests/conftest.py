"""What several test modules share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from millwork.validators.triton.install import Installation


@pytest.fixture(scope="session")
def triton_installation() -> Installation:
    """The managed Triton, in the user's own cache: installed by the first test that ever asks for it."""
    from millwork.validators.triton import install

    return install.install()
