"""Names of models on the hub, checked before transformers asks for files: it repeats every request for a minute."""

from __future__ import annotations

from reasoner_rm.errors import InputError

SECONDS = 10.0
"""The time that the hub has to answer."""


def check_hub_id(name: str) -> None:
    """Check that a model is in the hub's cache on this machine, or on the hub.

    Raises:
        InputError: the name is no id of the hub, the hub has no such model, or it cannot be reached, for instance
            through a proxy that cannot be used.
    """
    import httpx
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id

    from reasoner_rm.utils.http_client import through

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise InputError("no such folder", file=name, remedy="give a checkpoint folder, a run, or a hub id") from None
    is_cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    what, remedy = f"{name!r} is no folder, and not in the hub's cache", "check the path or hub id"
    if constants.HF_HUB_OFFLINE and not is_cached:
        raise InputError(f"{what}; HF_HUB_OFFLINE is set", remedy=remedy)
    via = "" if constants.HF_HUB_OFFLINE else through(constants.ENDPOINT)
    if is_cached:
        return
    try:
        HfApi().model_info(name, timeout=SECONDS)
    except RepositoryNotFoundError:
        raise InputError(
            f"{what}; the hub has no such model", remedy=f"{remedy}; a private model needs HF_TOKEN"
        ) from None
    except HfHubHTTPError:
        return  # the hub is there and answers; what it refuses is said when the files are fetched
    except (httpx.HTTPError, OSError) as error:
        raise InputError(f"{what}; the hub cannot be reached ({type(error).__name__}{via})", remedy=remedy) from None
