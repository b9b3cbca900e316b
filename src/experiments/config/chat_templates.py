"""The package's chat templates; `model.chat_template` takes their names or a file.

Each template writes the turn markers of one model family, renders the tools, and writes calls in
the tags of Qwen and Hermes. They are meant for models whose own template does not support tools.
"""

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "chat_templates"


def shipped() -> tuple[str, ...]:
    """Return the sorted names of the package's templates.

    >>> "gemma3" in shipped()
    True
    """
    return tuple(sorted(path.stem for path in FOLDER.glob("*.jinja")))


def located(template: str) -> Path | None:
    """Return the file of a shipped template or of a path, or None if there is no such file."""
    path = FOLDER / f"{template}.jinja" if template in shipped() else Path(template).expanduser()
    return path if path.is_file() else None


def missing(template: str) -> str:
    """Return the error sentence, without its full stop, for a template that does not exist."""
    return (
        f"model.chat_template={template}: there is no such file; give a .jinja file or one of the "
        f"shipped templates: {', '.join(shipped())}"
    )
