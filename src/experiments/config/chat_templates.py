"""The chat templates of the package: `model.chat_template` takes their names or a file.

Each writes a family's own turn markers, shows the tools and writes calls in the tags of Qwen and
Hermes, for models whose own template knows no tools.
"""

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "chat_templates"


def shipped() -> tuple[str, ...]:
    """Return the names of the package's templates, in order.

    >>> "gemma3" in shipped()
    True
    """
    return tuple(sorted(path.stem for path in FOLDER.glob("*.jinja")))


def located(template: str) -> Path | None:
    """Return the file of a shipped name, or of a path; None if there is neither."""
    path = FOLDER / f"{template}.jinja" if template in shipped() else Path(template).expanduser()
    return path if path.is_file() else None


def missing(template: str) -> str:
    """Return the sentence, without its full stop, on a template that is not there."""
    return (
        f"model.chat_template={template}: there is no such file, and the package ships "
        f"{', '.join(shipped())}"
    )
