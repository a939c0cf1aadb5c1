"""Number of cores, with quotas of control groups."""

import os

import pytest

from mmrest.utils.cores import available_cores


@pytest.mark.parametrize(
    'group, files, cores',
    [
        ('0::/', {'sys/fs/cgroup/cpu.max': '250000 100000'}, 3),
        ('0::/a/b', {'sys/fs/cgroup/a/cpu.max': '100000 100000', 'sys/fs/cgroup/a/b/cpu.max': 'max 100000'}, 1),
        ('0::/', {'sys/fs/cgroup/cpu.max': 'max 100000'}, 8),
        ('0::/not/there', {'sys/fs/cgroup/cpu.max': '50000 100000'}, 1),
        (
            '4:cpu,cpuacct:/',
            {'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '400000', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'},
            4,
        ),
        ('4:cpu:/', {'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'}, 8),
        ('3:memory:/', {}, 8),
        (None, {}, 8),
    ],
)
def test_available_cores_respects_quota_and_affinity(tmp_path, monkeypatch, group, files, cores):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(8), raising=False)
    for name, text in {**files, **({'proc/self/cgroup': group + '\n'} if group else {})}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(1))
    assert available_cores(tmp_path) == 1
