"""Command-line parsing: paths with ~, and config options with blanks."""

from __future__ import annotations

import argparse
import os
from typing import Any, Sequence

from mmengine.config import DictAction

from .errors import UsageError

QUOTES = '\'"'


class ArgumentParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` that expands ``~`` at the start of an argument.

    A shell does that too, but not in ``--work-dir=~/x``, which would be a folder called ``~``.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore
        """Parse as :mod:`argparse` does."""
        known, unknown = super().parse_known_args(args, namespace)
        for name, value in vars(known).items():
            setattr(known, name, _expand(value))
        return known, unknown


def _expand(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand(each) for each in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith('~') else value


class ConfigOptions(DictAction):
    """Action for ``KEY=VALUE`` that keeps blanks, as in ``data_root="/data/my set/"``.

    mmengine's takes all blanks out of a value. Everything else is as there: numbers, booleans and None are
    recognized, ``[a,b]`` and ``a,b`` are lists, ``(a,b)`` is a tuple. A comma or a bracket in quotes is text.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the options to those given before."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for option in values or ():
            key, equals, value = option.partition('=')
            if not equals or not key:
                parser.error(
                    f'{option_string or self.dest}: {option} is not of the form KEY=VALUE. Quote a value with '
                    'blanks: KEY="a b".'
                )
            try:
                options[key] = parse_value(value)
            except ValueError as error:
                parser.error(f'{option_string or self.dest}: {option}: {error}')
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """Return the value that a text on the command line stands for.

    Args:
        text (str): E.g. '0.1', '[a b, c]', '~/data'.

    Raises:
        ValueError: The brackets of a list or tuple do not match.
    """
    return _parse(_unquote(text.strip()))


def _unquote(text: str) -> str:
    quoted = len(text) > 1 and text[0] in QUOTES and text.find(text[0], 1) == len(text) - 1
    return text[1:-1] if quoted else text


def _parse(text: str) -> Any:
    depths, commas = _structure(text)
    if text[:1] in ('(', '[') and min(depths[:-1], default=0) > 0 and depths[-1] == 0:
        inner = text[1:-1]
        values = [_parse_element(part) for part in _split(inner, _structure(inner)[1])]
        return tuple(values) if text[0] == '(' else values
    if commas or text[:1] in ('(', '['):
        if depths[-1] != 0 or min(depths) < 0:
            raise ValueError('its brackets do not match.')
        if commas:
            return [_parse_element(part) for part in _split(text, commas)]
    return _scalar(text)


def _parse_element(text: str) -> Any:
    """Return an element of a list; one in quotes has no structure."""
    text = text.strip()
    return _parse(text) if _unquote(text) == text else _scalar(_unquote(text))


def _scalar(text: str) -> Any:
    return _expand(DictAction._parse_int_float_bool(text))


def _structure(text: str) -> tuple[list[int], list[int]]:
    """Return how many brackets are open after each character, and where commas are outside of them and of quotes."""
    depths, commas, depth, quote, fresh = [], [], 0, '', True
    for place, char in enumerate(text):
        if quote:
            quote = '' if char == quote else quote
        elif char in QUOTES and fresh and text.find(char, place + 1) > 0:
            quote = char  # at the start of an element; elsewhere it is an apostrophe
        elif char in '([':
            depth += 1
        elif char in ')]':
            depth -= 1
        elif char == ',' and depth == 0:
            commas.append(place)
        fresh = not quote and (char in ',([' or fresh and char == ' ')
        depths.append(depth)
    return depths, commas


def _split(text: str, commas: list[int]) -> list[str]:
    """Split a text at commas; one at the end adds nothing."""
    parts = [text[start + 1 : end] for start, end in zip([-1, *commas], [*commas, len(text)])]
    return parts if parts[-1].strip() else parts[:-1]


def check_choice(args: argparse.Namespace, config_only: Sequence[str]) -> None:
    """Stop where a command line does not name one thing to build, or has options that would change nothing of it.

    Args:
        args (argparse.Namespace): With ``config`` or ``backbone``; ``arch`` and ``options`` are of a backbone.
        config_only (Sequence[str]): Those that are of a config. What was not given is None.

    Raises:
        UsageError: Neither or both are named, or an option goes with the other one.
    """
    if bool(args.config) == bool(args.backbone):
        raise UsageError('Give either a config or --backbone with --arch.')
    if args.backbone:
        refuse_idle(args, config_only, '--backbone')
    else:
        refuse_idle(args, ('arch', 'options'), 'a config')


def refuse_idle(args: argparse.Namespace, names: Sequence[str], beside: str) -> None:
    """Stop where a command line has options that would change nothing.

    Args:
        args (argparse.Namespace): What was not given is None.
        names (Sequence[str]): Those that would change nothing; 'config' is the one without dashes.
        beside (str): What makes them idle.

    Raises:
        UsageError: One of them was given.
    """
    idle = [
        'a config' if name == 'config' else f'--{name.replace("_", "-")}'
        for name in names
        if getattr(args, name) is not None
    ]
    if idle:
        raise UsageError(f'{", ".join(idle)} does nothing with {beside}.')
