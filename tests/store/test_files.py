"""What the disk refuses, in the words of the house."""

import errno
import os

import pytest

from depproxy.errors import StoreError, StoreFull, StorePurged
from depproxy.store.files import translated


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EFBIG, StoreFull),
        (errno.ENOENT, StorePurged),
        (errno.ESTALE, StorePurged),
        (errno.EIO, StoreError),
        (errno.EROFS, StoreError),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else value.__name__,
)
def test_an_error_of_the_disk_is_one_of_ours_and_says_what_was_done(
    code: int, kind: type[StoreError]
) -> None:
    with (
        pytest.raises(StoreError, match="a blob is written") as caught,
        translated("a blob is written"),
    ):
        raise OSError(code, os.strerror(code))
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, OSError)


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), translated("a blob is written"):
        raise ZeroDivisionError
