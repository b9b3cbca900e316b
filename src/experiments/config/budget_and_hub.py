"""Schema of `budget` and `hub`: time limits and uploads, neither of which changes a result."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB = "hf://"


@dataclass
class BudgetConfig:
    """Time budget of one invocation, which is a run or a complete sweep."""

    hours: float | None = None
    """Hours from the start of the process, after which no run starts and running ones save a
    checkpoint and stop; null = no limit. Rerun the same command to resume."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        if self.hours is not None and not 0 < self.hours < float("inf"):
            yield (
                f"budget.hours={self.hours}: must be above 0, for example 2.5, or null for no limit"
            )


@dataclass
class HubConfig:
    """What is uploaded to the hub; the token is HF_TOKEN or the one of `hf auth login`."""

    push: bool = False
    """Upload adapter, model card and record after each run, in one commit."""
    repo: str | None = None
    """`owner/name`; the repository is created if it does not exist."""
    private: bool = True
    """Whether a repository that is created here is private."""
    checkpoints: bool = False
    """Also upload each checkpoint, so that another machine can resume from it."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        if self.repo is not None and not is_repo(self.repo):
            yield f"hub.repo={self.repo}: must have the form owner/name"
        if self.push and self.repo is None:
            yield "hub.push=true needs a repository: set hub.repo=owner/name"
        if self.checkpoints and not self.push:
            yield "hub.checkpoints=true needs hub.push=true: set it, or remove hub.checkpoints"


def is_repo(text: str) -> bool:
    """Return whether a text is a valid repository name on the hub.

    >>> is_repo("me/adapter-1"), is_repo("adapter-1")
    (True, False)
    """
    return bool(_REPO.fullmatch(text))


def hub_source(text: str) -> tuple[str, str | None] | None:
    """Return repository and revision of `hf://owner/name@revision`, or None for a folder.

    >>> hub_source("hf://me/runs@v1"), hub_source("hf://me/runs"), hub_source("/content/drive")
    (('me/runs', 'v1'), ('me/runs', None), None)
    """
    if not text.startswith(_HUB):
        return None
    repo, _, revision = text.removeprefix(_HUB).partition("@")
    return repo, revision or None


def source_problems(resume_from: str | None) -> Iterator[str]:
    """Yield a sentence if `resume_from` names neither a folder nor a repository."""
    source = hub_source(resume_from) if resume_from else None
    if source is not None and not is_repo(source[0]):
        yield f"resume_from={resume_from}: must be hf://owner/name or a folder"
