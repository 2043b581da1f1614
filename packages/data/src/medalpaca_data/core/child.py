"""Sealing at the start of Python, so that every child process of a sealed process is sealed, whatever it runs.

`medalpaca_data_seal.pth` in site-packages calls `seal_child`. Python started with `-S`, and Python of another
environment, do not read that file.
"""

from __future__ import annotations

import os


def seal_child() -> None:
    """Seal this process if its parent was sealed, or if `MEDALPACA_SEALED` is on.

    An invalid value of the variable is not reported here: programs of others ignore it, and our commands report it.
    """
    if not {"MEDALPACA_SEALED", "MEDALPACA_SEALED_CHILDREN"} & os.environ.keys():
        return
    from .errors import UserError
    from .offline import SEALED_CHILDREN, is_sealed, seal

    try:
        sealed = is_sealed()
    except UserError:
        sealed = False
    if sealed or os.environ.get(SEALED_CHILDREN) == "1":
        seal()
