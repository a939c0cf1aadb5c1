"""Messages that a run writes into its log file only."""

import logging

from mmrest.engine.console import only_in_files


def test_only_in_files_counts_what_the_console_lacks(tmp_path, capsys):
    logger = logging.Logger('run', logging.INFO)
    logger.addHandler(logging.StreamHandler())
    logger.addHandler(logging.FileHandler(tmp_path / 'run.log'))
    with only_in_files(logger, 'option --', '{} options are in the log file.'):
        for message in ('option -- lr', 'other', 'option -- decay'):
            logger.info(message)
    logger.info('option -- later')
    assert capsys.readouterr().err.split('\n')[:-1] == ['other', '2 options are in the log file.', 'option -- later']
    text = (tmp_path / 'run.log').read_text()
    assert text.split('\n')[:3] == ['option -- lr', 'other', 'option -- decay']


def test_only_in_files_without_such_messages_says_nothing(capsys):
    logger = logging.Logger('run', logging.INFO)
    logger.addHandler(logging.StreamHandler())
    with only_in_files(logger, 'option --', '{} options'):
        logger.info('other')
    assert capsys.readouterr().err == 'other\n'
