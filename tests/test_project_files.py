"""Makefile, continuous integration and templates: they agree with each other and with setup.py."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml
from conftest import REPO

MAKEFILE = (REPO / 'Makefile').read_text(encoding='utf-8')
TARGETS = set(re.findall(r'^([a-z-]+):', MAKEFILE, re.MULTILINE))
GITHUB = REPO / '.github'

needs_github = pytest.mark.skipif(not GITHUB.is_dir(), reason='the files of GitHub are not part of this copy')


def read_workflow() -> dict:
    return yaml.safe_load((GITHUB / 'workflows/ci.yml').read_text(encoding='utf-8'))


def find_steps(workflow: dict) -> Iterator[tuple[str, dict]]:
    """Yield each step of a workflow with the name of its job."""
    for name, job in workflow['jobs'].items():
        for step in job['steps']:
            yield name, step


def supported_pythons() -> list[str]:
    """Return the versions of Python in the classifiers of setup.py, in ascending order."""
    text = (REPO / 'setup.py').read_text(encoding='utf-8')
    return sorted(re.findall(r'Python :: (3\.\d+)', text), key=lambda version: int(version.split('.')[1]))


def make_targets(command: str) -> list[str]:
    """Return the targets of the make commands in a script."""
    return re.findall(r'\bmake ([a-z-]+)', command)


def test_makefile_declares_its_targets_phony_and_explains_them():
    (phony,) = re.findall(r'^\.PHONY: (.*)$', MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS
    assert set(re.findall(r'^([a-z-]+):.*## \S', MAKEFILE, re.MULTILINE)) == TARGETS


def test_makefile_installs_the_packages_of_the_docs_extra():
    (packages,) = re.findall(r'^DOCS := (.*)$', MAKEFILE, re.MULTILINE)
    (extra,) = re.findall(r'^DOCS = \[(.*)\]$', (REPO / 'setup.py').read_text(encoding='utf-8'), re.MULTILINE)
    assert packages.split() == re.findall(r"'([a-z-]+)", extra)


def test_classifiers_are_the_pythons_that_the_installer_takes():
    pythons = supported_pythons()
    text = (REPO / 'tools/setup_env.py').read_text(encoding='utf-8')
    limits = re.search(r'MIN_PYTHON, MAX_PYTHON = \(3, (\d+)\), \(3, (\d+)\)', text)
    assert pythons == [f'3.{minor}' for minor in range(int(limits[1]), int(limits[2]) + 1)]


@needs_github
def test_workflow_steps_are_make_targets():
    commands = {}
    for job, step in find_steps(read_workflow()):
        assert ('run' in step) != ('uses' in step), f'{job}: {step}'
        if 'run' in step:
            commands.setdefault(job, []).append(step['run'])
    assert {
        job: runs for job, runs in commands.items() if not all(re.fullmatch('make [a-z-]+', run) for run in runs)
    } == {}
    called = {job: [target for run in runs for target in make_targets(run)] for job, runs in commands.items()}
    assert {job: set(targets) - TARGETS for job, targets in called.items() if set(targets) - TARGETS} == {}
    assert called == dict(lint=['lint'], test=['test'], docs=['docs'], nightly=['docs', 'test-all'])


@needs_github
def test_workflow_tests_the_oldest_and_newest_python():
    workflow, pythons = read_workflow(), supported_pythons()
    assert workflow['jobs']['test']['strategy']['matrix']['python'] == [pythons[0], pythons[-1]]
    named = [
        step['with']['python-version'] for _, step in find_steps(workflow) if 'python-version' in step.get('with', {})
    ]
    assert len(named) == len(workflow['jobs'])
    assert set(named) == {'${{ matrix.python }}', pythons[-1]}


@needs_github
def test_workflow_runs_all_tests_at_night_and_the_others_at_each_push():
    workflow = read_workflow()
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert {'push', 'pull_request', 'schedule'} <= set(triggers)
    assert "== 'schedule'" in workflow['jobs']['nightly']['if']
    others = [job['if'] for name, job in workflow['jobs'].items() if name != 'nightly']
    assert set(others) == {"github.event_name != 'schedule'"}


@needs_github
def test_workflow_caches_packages_by_the_constraints():
    setups = [
        step for _, step in find_steps(read_workflow()) if step.get('uses', '').startswith('actions/setup-python@')
    ]
    paths = {step['with']['cache-dependency-path'] for step in setups if 'cache' in step['with']}
    assert paths == {'constraints.txt'} and (REPO / 'constraints.txt').is_file()


@needs_github
def test_workflow_and_ci_script_require_the_same_packages():
    script = (REPO / '.ci/run').read_text(encoding='utf-8')
    (required,) = re.findall(r'MMREST_REQUIRE=(\S+)', script)
    assert read_workflow()['jobs']['test']['env']['MMREST_REQUIRE'] == required
    assert set(make_targets(script)) <= TARGETS


@needs_github
@pytest.mark.parametrize('name', ['bug_report', 'feature_request'])
def test_issue_form_has_labeled_fields(name):
    form = yaml.safe_load((GITHUB / f'ISSUE_TEMPLATE/{name}.yml').read_text(encoding='utf-8'))
    assert form['name'] and form['description']
    fields = [field for field in form['body'] if field['type'] != 'markdown']
    assert [field for field in fields if not field['attributes']['label'] or not field['id']] == []
    identifiers = [field['id'] for field in fields]
    assert len(set(identifiers)) == len(identifiers)


@needs_github
def test_bug_report_asks_for_the_doctor_and_a_config():
    form = yaml.safe_load((GITHUB / 'ISSUE_TEMPLATE/bug_report.yml').read_text(encoding='utf-8'))
    fields = {field['id']: field for field in form['body'] if 'id' in field}
    assert 'python -m mmrest.doctor' in fields['environment']['attributes']['description']
    assert fields['environment']['validations']['required'] and fields['config']['validations']['required']


@needs_github
@pytest.mark.parametrize('path', ['.github/pull_request_template.md', 'docs/CONTRIBUTING.md', 'docs/RELEASING.md'])
def test_page_names_existing_make_targets(path):
    named = re.findall(r'(?:`|^)make ([a-z-]+)', (REPO / path).read_text(encoding='utf-8'), re.MULTILINE)
    assert named and set(named) <= TARGETS


@needs_github
def test_templates_name_existing_files():
    for path in [*GITHUB.rglob('*.yml'), *GITHUB.rglob('*.md')]:
        named = re.findall(r'(?<![\w/])(?:docs|tools|mmrest)/[\w/]+\.\w+|[A-Z]+\.md', path.read_text(encoding='utf-8'))
        assert [file for file in named if not (REPO / file).exists() and not (REPO / 'docs' / file).exists()] == []
