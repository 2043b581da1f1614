"""Download of one file of a dataset from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import UserError, one_line
from ..core.offline import is_sealed, no_telemetry, sealed_setting

# Seconds to wait for the first response of the hub.
HUB_TIMEOUT = 10


def download_from_hub(hub: str, revision: str, name: str) -> Path:
    """Return the path of a dataset's file in the local hub cache; download the file if it is not there.

    Only this file is downloaded, and no code of the dataset is run. Raises UserError if the download fails. In sealed
    mode (MEDALPACA_SEALED), nothing is downloaded, and a file that is not in the cache raises UserError.
    """
    where = f"{hub}: {name} of {revision[:12]}"
    no_telemetry()
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    except ImportError:
        raise UserError(
            f"{where}: needs huggingface_hub; install medalpaca-data[hub], or download the file and set path:"
        ) from None
    cached = try_to_load_from_cache(hub, name, repo_type="dataset", revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if is_sealed():
        raise UserError(
            f"{where}: not in the local hub cache, and {sealed_setting()}; download the file and set path:"
        )
    try:
        # One request with a timeout comes first, because a download retries an unreachable hub for half a minute.
        get_hf_file_metadata(
            hf_hub_url(hub, name, repo_type="dataset", revision=revision), timeout=HUB_TIMEOUT
        )
        return Path(hf_hub_download(hub, name, repo_type="dataset", revision=revision))
    # The exceptions of the network libraries have no common base class.
    except Exception as error:
        cause = one_line(error) or type(error).__name__
        raise UserError(f"{where} could not be downloaded ({cause[:160]})") from None
