"""Uploading a release to the Hugging Face hub. Files that the hub has already are not sent again after a failure."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from reasoner_rm.errors import InputError

MAX_TRIES = 5
BACKOFF = 2.0
"""Seconds before the second try; doubled after each."""


def upload(
    folder: Path, repo_id: str, *, private: bool = False, tries: int = MAX_TRIES, backoff: float = BACKOFF
) -> str:
    """Create the repository if it does not exist, commit the folder in one commit, and return the commit's URL.

    Args:
        backoff: seconds before the second try; doubled after each.

    Raises:
        InputError: invalid repository name, no write access, or the hub cannot be reached.
    """
    import httpx
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    from reasoner_rm.utils.http_client import through

    api, via = HfApi(), through(constants.ENDPOINT)
    for left in reversed(range(tries)):
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Release")
            return str(commit.commit_url)
        except HFValidationError as error:
            raise InputError(f"{repo_id!r} is not a valid repository name", remedy=str(error).splitlines()[0]) from None
        except OfflineModeIsEnabled:
            raise InputError("HF_HUB_OFFLINE is set", remedy="unset it, or use --dry-run") from None
        except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response else None
            if status in (400, 401, 403, 404, 409):
                remedy = "log in with `hf auth login` and a token with write access" if status in (401, 403) else ""
                raise InputError(f"the hub refuses the upload ({reason})", remedy=remedy) from None
            if not left:
                raise InputError(
                    f"the hub cannot be reached{via} ({reason})", remedy="publish again: uploaded files are kept"
                ) from None
            print(f"connection failed ({reason}); trying again", file=sys.stderr)
            time.sleep(backoff * 2 ** (tries - 1 - left))
    raise AssertionError("unreachable")
