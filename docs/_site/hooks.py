"""What mkdocs does to pages on the way: the reference of the commands, and links out of the site as plain text."""

import re
from typing import Any

import typer

MARK = "<!-- commands -->"
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./((?!docs/)[^)]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the commands, and name files of the repository instead of linking to them."""
    if MARK in markdown:
        markdown = markdown.replace(MARK, commands())
    if "/" not in page.file.src_path:  # elsewhere ../ leads to other pages
        markdown = _OUTSIDE.sub(lambda link: f"{link[1]} (`{link[2]}` in the repository)", markdown)
    return markdown


def commands() -> str:
    """Return a section for every command of fsp, in Markdown."""
    from fsp.cli.app import app

    return "\n".join(_sections("fsp", typer.main.get_command(app)))


def _sections(name: str, command: Any) -> list[str]:
    nested = getattr(command, "commands", None)
    if nested is not None:
        return [line for part, inner in nested.items() for line in _sections(f"{name} {part}", inner)]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([name, *(_argument(a) for a in arguments), *(_required(o) for o in options if o.required)])
    lines = [f"## {name}", "", command.help or "", "", f"    {usage} [OPTIONS]", ""]
    if command.params:
        lines += ["| | | default |", "|---|---|---|"]
        for parameter in [*arguments, *options]:
            label = f"`{parameter.name.upper()}`" if parameter in arguments else _names(parameter)
            lines.append(f"| {label} | {_cell(parameter.help or '')} | {_cell(_default(parameter))} |")
    return [*lines, ""]


def _argument(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _required(option: Any) -> str:
    return f"{option.opts[0]} {(option.metavar or option.name).upper()}"


def _names(option: Any) -> str:
    return " ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.required or parameter.default is None or parameter.default is False or parameter.default == ():
        return ""
    return f"`{parameter.default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
