"""What bash, zsh and fish need to complete the command line, made from the parsers."""

from __future__ import annotations

from collections.abc import Mapping

from parsers import Option, all_options, own_options

from proxy.ops.cli import Command

_BASH = """\
# Completion for hookward in bash; made by `hookward completion bash`.
_hookward() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=run words=
    if (( COMP_CWORD > 1 )) && [[ ${{COMP_WORDS[1]}} != -* ]]; then
        command=${{COMP_WORDS[1]}}
    fi
    case $command:$before in
{values}
    esac
    case $command in
{flags}
    esac
    if (( COMP_CWORD == 1 )); then
        words+=' {commands}'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    if (( ${{#COMPREPLY[@]}} == 0 )); then
        _hookward_files
    fi
}}
_hookward_files() {{
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
}}
complete -F _hookward hookward
"""

_ZSH = """\
#compdef hookward
# Completion for hookward in zsh; made by `hookward completion zsh`.
local command=run
local -a commands run_flags
commands=(
{commands}
)
run_flags=(
{run}
)
if (( CURRENT > 2 )) && [[ $words[2] != -* ]]; then
    command=$words[2]
    shift words
    (( CURRENT-- ))
elif (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe command commands
    return
fi
case $command in
{cases}
esac
"""


def bash(commands: Mapping[str, Command]) -> str:
    """For bash 4 and newer."""
    values, flags = [], []
    for name in commands:
        options = all_options(name, commands)
        for option in options:
            pattern = "|".join(f"{name}:{one}" for one in option.names)
            if option.names and option.value:
                values.append(f"        {pattern}) {_bash_value(option)}; return ;;")
        places = [word for option in options if not option.names for word in option.words]
        words = [one for option in options for one in option.names] + ["--help"] + places
        flags.append(f"        {name}) words={_quoted(' '.join(words))} ;;")
    return _BASH.format(values="\n".join(values), flags="\n".join(flags), commands=" ".join(commands))


def _bash_value(option: Option) -> str:
    if option.words:
        return f'mapfile -t COMPREPLY < <(compgen -W {_quoted(" ".join(option.words))} -- "$word")'
    return "_hookward_files" if option.file else "COMPREPLY=()"


def zsh(commands: Mapping[str, Command]) -> str:
    """For zsh."""
    cases = []
    for name, command in commands.items():
        specs = [] if name == "run" else [_zsh_option(option) for option in own_options(name, commands)]
        shared = ['"${run_flags[@]}"'] if command.of_run or name == "run" else []
        help_flag = _quoted("(-h --help)--help[say how it is used]")
        cases.append(f"    {name}) _arguments {' '.join([help_flag, *shared, *specs])} ;;")
    return _ZSH.format(
        commands="\n".join(f"    {_quoted(f'{name}:{command.help}')}" for name, command in commands.items()),
        run="\n".join(f"    {_zsh_option(option)}" for option in own_options("run", commands)),
        cases="\n".join(cases),
    )


def _zsh_option(option: Option) -> str:
    label = option.value.lower().translate(dict.fromkeys(map(ord, ":'[]"), " "))
    action = f"({' '.join(option.words)})" if option.words else "_files" if option.file else " "
    if not option.names:
        return _quoted(f"*:{label}:{action}")
    told = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = f":{label}:{action}" if option.value else ""
    return " ".join(_quoted(f"*{name}[{told}]{value}") for name in option.names)


def fish(commands: Mapping[str, Command]) -> str:
    """For fish."""
    others = " ".join(name for name in commands if name != "run")
    lines = [
        "# Completion for hookward in fish; made by `hookward completion fish`.",
        "complete -c hookward -f",
        "complete -c hookward -l help -s h -d 'say how it is used'",
    ]
    for name, command in commands.items():
        lines.append(f"complete -c hookward -n __fish_use_subcommand -a {name} -d {_fish_quoted(command.help)}")
        when = f"not __fish_seen_subcommand_from {others}" if name == "run" else f"__fish_seen_subcommand_from {name}"
        lines += [_fish_option(option, when) for option in all_options(name, commands)]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option, when: str) -> str:
    words = [f"complete -c hookward -n {_fish_quoted(when)}"]
    words += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    if option.file:
        words.append("-rF")
    elif option.value and option.names:
        words.append("-x")
    if option.words:
        words.append(f"-a {_fish_quoted(' '.join(option.words))}")
    return " ".join([*words, f"-d {_fish_quoted(option.help)}"])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
