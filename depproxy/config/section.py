"""One mapping of the file, read key by key; what is wrong is collected, not raised."""

import difflib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
D = TypeVar("D")


class Problems(list[str]):
    """Every problem of the file: ``dotted.path: what was expected, what is there``."""

    def __init__(self, *, looks_around: bool = True) -> None:
        """``looks_around``: that a file or a variable which the server needs is not there is one,
        too."""
        super().__init__()
        self.looks_around = looks_around

    def add(self, path: str, expected: str) -> None:
        self.append(f"{path or 'the file'}: {expected}")


class Section:
    """A cursor on one mapping. A key without a value counts as left out.

    Take every known key, then call `close`, which reports those that nobody took.
    """

    def __init__(self, problems: Problems, path: str, content: Any) -> None:
        self._problems = problems
        self._path = path
        self._known: list[str] = []
        self._content: dict[Any, Any] = {}
        if isinstance(content, dict):
            self._content = content
        elif content is not None:
            problems.add(path, f"expected a mapping, found {_shown(content)}")

    @property
    def looks_around(self) -> bool:
        """Whether files and variables that are named have to be there."""
        return self._problems.looks_around

    def at(self, key: str) -> str:
        """The dotted path of ``key``."""
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        """Whether ``key`` has a value, right or wrong."""
        return self._content.get(key) is not None

    def take(self, key: str, parse: Callable[[Any], T], default: D) -> T | D:
        """The value of ``key``, or ``default`` where it is left out or wrong."""
        self._known.append(key)
        value = self._content.get(key)
        return default if value is None else self._parsed(self.at(key), parse, value, default)

    def take_list(
        self, key: str, parse: Callable[[Any], T], default: tuple[T, ...] = ()
    ) -> tuple[T, ...]:
        """A list of values; the right ones of it, where some are wrong."""
        self._known.append(key)
        value = self._content.get(key)
        if value is None:
            return default
        if not isinstance(value, list):
            self._problems.add(self.at(key), f"expected a list, found {_shown(value)}")
            return default
        parsed = [
            self._parsed(f"{self.at(key)}[{index}]", parse, item, None)
            for index, item in enumerate(value)
        ]
        return tuple(item for item in parsed if item is not None)

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        """One of a few words; the first is the default."""

        def parse(value: Any) -> str:
            if value not in choices:
                raise ValueError("one of " + ", ".join(choices))
            return str(value)

        return self.take(key, parse, choices[0])

    def section(self, key: str) -> "Section":
        """The mapping under ``key``; an empty one where it is left out."""
        self._known.append(key)
        return Section(self._problems, self.at(key), self._content.get(key))

    def entries(self, parse: Callable[[Any], T]) -> Iterator[tuple[T, "Section"]]:
        """Every entry of a mapping whose keys are names that the user chooses."""
        for key, value in self._content.items():
            self._known.append(key)
            name = self._parsed(self.at(str(key)), parse, key, None, what="key: expected")
            if name is not None:
                yield name, Section(self._problems, self.at(str(key)), value)

    def problem(self, key: str, expected: str) -> None:
        """Report something that only the whole shows."""
        self._problems.add(self.at(key), expected)

    def close(self) -> None:
        """Report the keys that nobody took, with the nearest known one."""
        for key in self._content:
            if key not in self._known:
                near = difflib.get_close_matches(str(key), self._known, n=1)
                hint = (
                    f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(self._known)
                )
                self._problems.add(self.at(str(key)), f"unknown key; {hint}")

    def _parsed(
        self, path: str, parse: Callable[[Any], T], value: Any, default: D, what: str = "expected"
    ) -> T | D:
        try:
            return parse(value)
        except ValueError as exc:
            self._problems.add(path, f"{what} {exc}, found {_shown(value)}")
            return default


def _shown(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."
