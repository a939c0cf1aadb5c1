"""Command lines: a parser, values as they are typed, and the options that several tools share.

An option that two tools have is declared here once, so that its name, placeholder and help are the same in both.
"""

from __future__ import annotations

import argparse
import os
from typing import Any, Callable, Sequence

import torch
from mmengine.config import DictAction

from .errors import UsageError

QUOTES = '\'"'


class ArgumentParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` that expands ``~`` at the start of an argument, and shows defaults in the help.

    A shell expands ``~`` too, but not in ``--work-dir=~/x``, which would be a folder called ``~``.
    """

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument as :mod:`argparse` does; a default that says something is appended to the help."""
        default, text = settings.get('default'), settings.get('help')
        says_nothing = default is None or default is False or default == [] or default == argparse.SUPPRESS
        if text and text != argparse.SUPPRESS and not says_nothing and 'default:' not in text:
            shown = ' '.join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
            settings['help'] = f'{text}; default: {shown.replace("%", "%%")}'
        return super().add_argument(*names, **settings)

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


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """Return what 'key=value' texts say, as :class:`ConfigOptions` reads them."""
    parser = ArgumentParser(usage=argparse.SUPPRESS)
    parser.add_argument('--cfg-options', nargs='*', action=ConfigOptions)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options or {}


def integer(minimum: int) -> Callable[[str], int]:
    """Return an argparse type: integers from a minimum on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < minimum:
            raise argparse.ArgumentTypeError(f'{text} is not an integer of at least {minimum}.')
        return value

    return parse


def add_config(parser: argparse.ArgumentParser, optional: bool = False, default: str | None = None) -> None:
    """Add the positional ``config``; without one it is None. The help names the tool's ``default``, if it has one."""
    text = 'config file of mmdet, mmseg or mmpretrain' + (f'; default: {default}' if default else '')
    parser.add_argument('config', nargs='?' if optional or default else None, help=text)


def add_checkpoint(parser: argparse.ArgumentParser, or_initial: bool = False) -> None:
    """Add the positional ``checkpoint``, of a tool that may also run with initial weights if ``or_initial``."""
    parser.add_argument('checkpoint', help='checkpoint file' + ', or none for initial weights' * or_initial)


def add_amp(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp``."""
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on a CPU')


def add_cfg_options(parser: argparse.ArgumentParser, as_text: bool = False) -> None:
    """Add ``--cfg-options``: a dict or None; with ``as_text`` a list, to be handed on to another tool as it is."""
    settings: dict[str, Any] = dict(action='extend', default=[]) if as_text else dict(action=ConfigOptions)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. data_root=/data/coco/ train_cfg.max_epochs=1; lists as key="[a,b]"',
        **settings,
    )


def add_backbone(parser: argparse.ArgumentParser, backbones: Sequence[str]) -> None:
    """Add what names a backbone in place of a config: ``--backbone``, ``--arch``, ``--options``."""
    parser.add_argument('--backbone', choices=list(backbones), help='backbone, in place of a config')
    parser.add_argument('--arch', metavar='NAME', help='architecture of the backbone, e.g. small')
    parser.add_argument(
        '--options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='further arguments of the backbone, e.g. style=win, or stem=resnet of ResTAblation',
    )


def add_device(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--device``; without a default, it is a GPU if there is one."""
    text = 'device to compute on, e.g. cpu or cuda:1'
    if default is None:
        text += '; default: cuda if there is a GPU, else cpu'
        default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', metavar='DEVICE', default=default, help=text)


def add_num(parser: argparse.ArgumentParser, what: str, default: int | None, text: str, minimum: int = 1) -> None:
    """Add ``--num-<what>``, a count."""
    parser.add_argument(f'--num-{what}', type=integer(minimum), default=default, metavar='N', help=f'number of {text}')


def add_out(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--out``, a file that results are written to."""
    parser.add_argument('--out', metavar='FILE', help=f'file to write: {text}')


def add_out_dir(parser: argparse.ArgumentParser, text: str, default: str | None = None) -> None:
    """Add ``--out-dir``, a folder that results are written to."""
    parser.add_argument('--out-dir', metavar='DIR', default=default, help=f'folder to write to: {text}')


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``, of tools that otherwise keep an existing file."""
    parser.add_argument('--overwrite', action='store_true', help='replace what is already there')


def add_score_thr(parser: argparse.ArgumentParser) -> None:
    """Add ``--score-thr``, of tools that look at detections."""
    parser.add_argument(
        '--score-thr', type=float, default=0.3, metavar='SCORE', help='leave out instances with a lower score'
    )


def add_shape(
    parser: argparse.ArgumentParser, default: tuple[int, int] | None, text: str = '', repeated: bool = False
) -> None:
    """Add ``--shape H W``; with ``repeated`` it can be given several times, for a list of shapes."""
    settings: dict[str, Any] = dict(action='append') if repeated else {}
    parser.add_argument(
        '--shape',
        nargs=2,
        type=integer(1),
        default=default,
        metavar=('H', 'W'),
        help='height and width of images in pixels' + text,
        **settings,
    )


def add_work_dir(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--work-dir``; without a default, it is that of mmengine."""
    text = 'folder for logs and results'
    if default is None:
        text += '; default: work_dirs/<name of the config>'
    parser.add_argument('--work-dir', metavar='DIR', default=default, help=text)


def check_config_or_backbone(args: argparse.Namespace, config_only: Sequence[str]) -> None:
    """Check that a command line names either a config or a backbone, and has no options of the other.

    Args:
        args (argparse.Namespace): Has ``config`` and ``backbone``; ``arch`` and ``options`` go with a backbone. Options
            that were not given are None.
        config_only (Sequence[str]): Options that go with a config.

    Raises:
        UsageError: Neither or both are named, or an option goes with the other one.
    """
    if bool(args.config) == bool(args.backbone):
        raise UsageError('Give either a config or --backbone with --arch.')
    if args.backbone:
        refuse_unused_options(args, config_only, '--backbone')
    else:
        refuse_unused_options(args, ('arch', 'options'), 'a config')


def refuse_unused_options(args: argparse.Namespace, names: Sequence[str], beside: str) -> None:
    """Check that options which would have no effect were not given.

    Args:
        args (argparse.Namespace): Options that were not given are None.
        names (Sequence[str]): Options without effect; 'config' is the positional argument.
        beside (str): Argument beside which they have none, for the message.

    Raises:
        UsageError: One of them was given.
    """
    given = [
        'a config' if name == 'config' else f'--{name.replace("_", "-")}'
        for name in names
        if getattr(args, name) is not None
    ]
    if given:
        raise UsageError(f'{", ".join(given)} does nothing with {beside}.')
