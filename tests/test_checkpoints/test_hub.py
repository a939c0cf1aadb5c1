"""Files of the Hugging Face Hub: from its cache, from a server, and the reasons why there is none."""

import io
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
from conftest import REPO, TINY, run_process
from helpers.hub_cache import COMMIT, fill_cache
from mmengine.runner.checkpoint import CheckpointLoader

from mmrest import ResT
from mmrest.checkpoints import CheckpointError, DownloadError, fetch, load_file, load_pretrained, save_checkpoint
from mmrest.checkpoints.hub import parse_hub_name
from mmrest.engine.paths import check_checkpoint


@pytest.mark.parametrize(
    'name, expected',
    [
        ('hf://owner/name/a.safetensors', ('owner/name', None, 'a.safetensors')),
        ('hf://owner/name@v1.0/b/c d.pth', ('owner/name', 'v1.0', 'b/c d.pth')),
        ('hf://models/owner/na-me_1.x@main/a@b.pth', ('owner/na-me_1.x', 'main', 'a@b.pth')),
        ('hf://owner/name@refs/pr/10/a.pth', ('owner/name', 'refs/pr/10', 'a.pth')),
        ('hf://owner/name@feature%2Fx/a.pth', ('owner/name', 'feature/x', 'a.pth')),
    ],
)
def test_parse_hub_name_is_that_of_huggingface_hub(name, expected):
    assert parse_hub_name(name) == expected
    library = pytest.importorskip('huggingface_hub')
    if hasattr(library, 'parse_hf_uri'):  # newer versions
        parsed = library.parse_hf_uri(name)
        assert (parsed.id, parsed.revision, parsed.path_in_repo) == expected


@pytest.mark.parametrize(
    'name',
    [
        'hf://',
        'hf://a.pth',
        'hf://owner/name',
        'hf://owner/name/',
        'hf://owner/name@/a.pth',
        'hf://owner/name//a.pth',
        'hf://owner/na me/a.pth',
        'hf://datasets/owner/name/a.pth',
    ],
)
@pytest.mark.parametrize('load', [parse_hub_name, check_checkpoint, CheckpointLoader.load_checkpoint])
def test_hub_name_of_another_form_names_the_syntax(load, name):
    with pytest.raises(
        CheckpointError, match=f'^{name} .*Expected hf://owner/name/file or hf://owner/name@revision/file'
    ):
        load(name)


def test_huggingface_hub_not_installed_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match='^hf://a/b/c needs the package .* pip install huggingface_hub$'):
        fetch('hf://a/b/c')


# --- The cache ---


def backbone():
    torch.manual_seed(3)
    return dict(meta={}, state_dict=ResT(TINY).state_dict())


@pytest.mark.parametrize('revision', ['', '@main', f'@{COMMIT}'])
def test_hub_cached_file_is_read_by_every_loader(offline_hub, tmp_path, revision):
    pytest.importorskip('safetensors')
    fill_cache(
        tmp_path / 'cache',
        **{
            'a.safetensors': lambda path: save_checkpoint(backbone(), path),
            'b.pth': lambda path: torch.save(backbone(), path),
        },
    )
    for file in ('a.safetensors', 'b.pth'):
        name = f'hf://owner/name{revision}/sub/{file}'
        assert fetch(name).name == file and set(load_file(fetch(name))['state_dict']) == set(backbone()['state_dict'])
        model = ResT(TINY, init_cfg=dict(type='Pretrained', checkpoint=name))
        model.init_weights()
        assert torch.equal(model.stem.conv1.weight, backbone()['state_dict']['stem.conv1.weight'])
        assert load_pretrained(ResT(TINY), name).complete
        assert 'state_dict' in CheckpointLoader.load_checkpoint(name, map_location='cpu')


def test_hub_file_not_in_the_cache_offline_names_the_cache(offline_hub, tmp_path):
    fill_cache(tmp_path / 'cache')
    for name in ('hf://owner/name/none.safetensors', 'hf://owner/other/a.pth', 'hf://owner/name@v2/a.pth'):
        with pytest.raises(
            DownloadError,
            match=f'^{name} cannot be downloaded: HF_HUB_OFFLINE is set, and it is not in the cache {tmp_path}/cache. '
            'Without network access',
        ):
            load_pretrained(ResT(TINY), name)


def test_hub_damaged_file_in_the_cache_names_what_to_delete(offline_hub, tmp_path):
    fill_cache(tmp_path / 'cache', **{'a.safetensors': lambda path: path.write_bytes(b'nothing')})
    blob = tmp_path / 'cache/models--owner--name/blobs/0'
    with pytest.raises(
        CheckpointError, match=f'is damaged.* downloaded from hf://.*; delete {blob} to download it again'
    ):
        load_pretrained(ResT(TINY), 'hf://owner/name/sub/a.safetensors')


def test_hub_settings_of_the_environment_are_used(tmp_path):
    pytest.importorskip('huggingface_hub')
    fill_cache(tmp_path / 'home/hub', **{'b.pth': lambda path: torch.save(backbone(), path)})
    program = "from mmrest.checkpoints import fetch; print(fetch('hf://owner/name/sub/b.pth'))"
    variables = {key: value for key, value in os.environ.items() if key != 'HF_HUB_CACHE'}
    variables.update(HF_HOME=str(tmp_path / 'home'), HF_HUB_OFFLINE='1', PYTHONPATH=str(REPO))
    printed = run_process([sys.executable, '-c', program], tmp_path, variables)
    assert printed.splitlines()[-1] == str(tmp_path / f'home/hub/models--owner--name/snapshots/{COMMIT}/sub/b.pth')


# --- A server ---


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does, by the name of the repository and the file."""

    body = b''

    def do_HEAD(self, send=False):
        errors = dict(
            none=(401, 'RepoNotFound'),
            gated=(403, 'GatedRepo'),
            revision=(404, 'RevisionNotFound'),
            file=(404, 'EntryNotFound'),
        )
        status, code = errors.get(self.path.split('/')[2], (200, ''))
        self.send_response(status)
        if code:
            self.send_header('X-Error-Code', code)
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('ETag', '"the-etag"')
        self.send_header('Content-Length', str(len(self.body) if status == 200 else 0))
        self.end_headers()
        if send and status == 200:
            self.wfile.write(self.body)

    def do_GET(self):
        self.do_HEAD(send=True)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(offline_hub, monkeypatch):
    buffer = io.BytesIO()
    torch.save(backbone(), buffer)
    monkeypatch.setattr(Handler, 'body', buffer.getvalue())
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        running.daemon_threads = True
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        url = f'http://127.0.0.1:{running.server_port}'
        monkeypatch.setattr(offline_hub, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr(offline_hub, 'ENDPOINT', url)
        template = url + '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(offline_hub, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        yield url
        running.shutdown()


def test_hub_download_is_cached_and_read(server, tmp_path):
    assert load_pretrained(ResT(TINY), 'hf://owner/name@v1/a.pth').complete
    assert (tmp_path / f'cache/models--owner--name/snapshots/{COMMIT}/a.pth').is_file()


@pytest.mark.parametrize(
    'name, reason',
    [
        ('hf://owner/none/a.pth', 'there is no repository owner/none, or it is private'),
        ('hf://owner/gated/a.pth', 'access to owner/gated is restricted'),
        ('hf://owner/revision@v9/a.pth', 'owner/revision has no revision v9'),
        ('hf://owner/file/a.pth', 'owner/file has no file a.pth. Without'),
        ('hf://owner/file/a.pth@v1', r'owner/file has no file a.pth@v1 \(a revision goes after the name'),
    ],
)
def test_hub_answer_without_a_file_names_the_reason(server, name, reason):
    with pytest.raises(DownloadError, match=f'^{name} cannot be downloaded: {reason}'):
        fetch(name)
