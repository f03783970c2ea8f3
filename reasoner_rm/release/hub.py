"""Sending a release to the hub. What is there already is not sent again, so a dropped connection costs its file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from reasoner_rm.errors import InputError

TRIES = 5
WAIT = 2.0
"""Seconds before the second try, doubled after each."""


def upload(folder: Path, repo_id: str, *, private: bool = False, tries: int = TRIES, wait: float = WAIT) -> str:
    """Create the repository if need be and commit the folder to it, at once; the address of the commit.

    Raises:
        InputError: no such name, no right to write there, or the hub stays out of reach.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    api = HfApi()
    for left in reversed(range(tries)):
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Release")
            return str(done.commit_url)
        except HFValidationError as error:
            raise InputError(f"{repo_id!r} is no repository name", remedy=str(error).splitlines()[0]) from None
        except OfflineModeIsEnabled:
            raise InputError("HF_HUB_OFFLINE is set", remedy="unset it, or use --dry-run") from None
        except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response else None
            if status in (400, 401, 403, 404, 409):
                remedy = "log in with `hf auth login`, with a token that may write" if status in (401, 403) else ""
                raise InputError(f"the hub refuses ({reason})", remedy=remedy) from None
            if not left:
                raise InputError(f"the hub is out of reach ({reason})", remedy="publish again, it goes on") from None
            print(f"the connection broke ({reason}); trying again", file=sys.stderr)
            time.sleep(wait * 2 ** (tries - 1 - left))
    raise AssertionError("unreachable")
