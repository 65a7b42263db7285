"""What a newcomer does, counted: commands typed, the seconds to the first success, and what went wrong on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from bench.newcomers.machine import Done, Machine, Service

_ENDS = ("|", "\\", "{")


@dataclass
class Report:
    """How it went. ``seconds`` None: no success; ``stumbles`` are commands that failed though the page has them so."""

    name: str
    seconds: float | None = None
    commands: int = 0
    stumbles: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    not_told: list[str] = field(default_factory=list)
    skipped: str = ""


class GaveUpError(Exception):
    """The newcomer cannot go on."""


class Trial:
    """One newcomer at one machine."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.machine = machine
        self.report = Report(name)
        self._began: float | None = None
        self._aside_s = 0.0

    def has(self, script: str) -> None:
        """What this newcomer has before hookward; not counted."""
        done = self.machine.run(script, online=True)
        if done.code:
            raise GaveUpError(f"{script}\n{done.text}")

    def does(self, script: str, *, online: bool = False) -> Done:
        """Type what the page says. A failure is a stumble."""
        done = self.tries(script, online=online)
        if done.code:
            self.report.stumbles.append(_told(script, done))
        return done

    def must(self, script: str, *, online: bool = False) -> Done:
        """The same; without it there is no going on."""
        done = self.does(script, online=online)
        if done.code:
            raise GaveUpError(self.report.stumbles[-1])
        return done

    def tries(self, script: str, *, online: bool = False) -> Done:
        """Type something that may fail."""
        self._count(script)
        return self.machine.run(script, online=online)

    def starts(self, script: str, ready: str = "listening on") -> Service:
        """Start what stays. Where it does not, that is a stumble."""
        self._count(script)
        service = self.machine.start(script)
        if not service.says(ready):
            self.report.stumbles.append(_told(script, Done(service.code or 0, service.text)))
        return service

    def writes(self, path: str, text: str) -> None:
        """Write a file, which counts as one command."""
        self._count("an editor")
        self.machine.write(path, text)

    def succeeds(self) -> None:
        """The first success is here."""
        assert self._began is not None
        if self.report.seconds is None:
            self.report.seconds = monotonic() - self._began - self._aside_s

    def is_told(self, what: str, *, found: bool) -> None:
        """Whether hookward says what costs newcomers their time."""
        (self.report.told if found else self.report.not_told).append(what)

    def knows(self, command: str) -> bool:
        """Whether this hookward has a command, or a flag of one; not counted."""
        words, _, flag = command.partition(" --")
        began = monotonic()
        done = self.machine.run(f"hookward {words} --help")
        self._aside_s += monotonic() - began
        return done.code == 0 and (not flag or f"--{flag}" in done.text)

    def _count(self, script: str) -> None:
        if self._began is None:
            self._began = monotonic()
        lines = [line.strip() for line in script.strip().splitlines() if line.strip()]
        typed = [line for line in lines[:-1] if not line.endswith(_ENDS)] + lines[-1:]
        self.report.commands += sum(1 + line.count(" && ") for line in typed)


def _told(script: str, done: Done) -> str:
    words = " ".join(script.split())
    lines = [line.strip() for line in done.text.strip().splitlines()]
    return f"{words[:90]} -> {done.code}: {' / '.join(lines[-3:])[:240]}"
