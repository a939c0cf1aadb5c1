"""Checkpoints from the network: no answer, another answer, half an answer."""

import multiprocessing
import os
import pickle
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread

import pytest
import torch
from conftest import TINY
from mmengine.runner.checkpoint import CheckpointLoader

from mmrest import ResT
from mmrest.checkpoints import CheckpointError, DownloadError, check_url, download, downloads, load_pretrained, resolve
from mmrest.engine.paths import check_checkpoint


def content():
    buffer = BytesIO()
    torch.save(dict(model=ResT(TINY).state_dict()), buffer)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers by the name of the file."""

    asked: list = []
    body = b''

    def do_GET(self):
        self.asked.append(self.path)
        name = self.path.rsplit('/', 1)[-1]
        if name == 'silent.pth':
            return self.server.answered.wait(10)
        self.send_response(404 if name == 'none.pth' else 200)
        self.send_header('Content-Type', 'text/html' if name == 'page.pth' else 'application/octet-stream')
        self.send_header('Content-Length', str(len(self.body)))
        self.end_headers()
        if name != 'none.pth':
            self.wfile.write(self.body[: len(self.body) // 2 if name == 'cut.pth' else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    from threading import Event

    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(Handler, 'asked', [])
    monkeypatch.setattr(Handler, 'body', content())
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        running.daemon_threads, running.answered = True, Event()
        Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}'
        running.answered.set()
        running.shutdown()


@pytest.fixture
def closed():
    """A URL at a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        yield f'http://127.0.0.1:{taken.getsockname()[1]}/file.pth'


FAILURES = [
    ('none.pth', 'the server answers 404 Not Found'),
    ('page.pth', 'the server answers with a web page, perhaps a login form'),
    ('silent.pth', 'no answer for 0.3 seconds'),
    ('', 'the URL has no file name'),
    ('cut.pth', r'the download ended after [\d,]+ of [\d,]+ bytes'),
]


@pytest.mark.parametrize('name, reason', FAILURES)
def test_download_wrong_answer_names_the_reason(server, monkeypatch, name, reason):
    monkeypatch.setattr(downloads, 'TIMEOUT', 0.3)
    with pytest.raises(
        DownloadError, match=f'^{server}/{name} cannot be downloaded: {reason}. Without network access, '
    ):
        download(f'{server}/{name}')
    if name != 'cut.pth':  # only known at its end
        with pytest.raises(DownloadError, match=reason):
            check_url(f'{server}/{name}')
    folder = downloads.cached_path(f'{server}/x.pth').parent
    assert not folder.is_dir() or not list(folder.iterdir()), 'nothing is left behind'


@pytest.mark.parametrize(
    'load', [CheckpointLoader.load_checkpoint, lambda url: load_pretrained(ResT(TINY), url), download, check_url]
)
def test_download_closed_port_names_the_reason(closed, tmp_path, monkeypatch, load):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(DownloadError, match=f'^{closed} cannot be downloaded: Connection refused'):
        load(closed)
    with pytest.raises(DownloadError, match='^https://host.invalid/file.pth cannot be downloaded: '):
        load('https://host.invalid/file.pth')


def test_download_twice_asks_the_server_once(server):
    url = f'{server}/good.pth?key=1'
    check_url(url)
    path = download(url)
    assert path.name == 'good.pth' and path.read_bytes() == Handler.body
    assert load_pretrained(ResT(TINY), url).complete
    assert set(CheckpointLoader.load_checkpoint(url)['model']) == set(ResT(TINY).state_dict())
    check_url(url)
    assert len(Handler.asked) == 2


def test_load_pretrained_damaged_cache_names_the_url(server):
    path = download(f'{server}/good.pth')
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        CheckpointError, match=f'{path} is cut off .* It was downloaded from {server}/good.pth; delete it'
    ):
        load_pretrained(ResT(TINY), f'{server}/good.pth')


def test_resolve_mmengine_name_gives_its_url():
    assert resolve('open-mmlab://detectron2/resnet50_caffe').startswith('https://')
    assert resolve('a.pth') == 'a.pth'
    assert resolve('https://x/y.pth') == 'https://x/y.pth'
    for name in ('open-mmlab://none', 'mmcls://none'):
        with pytest.raises(CheckpointError, match=f'^{name} is not in mmengine'):
            resolve(name)


@pytest.mark.parametrize(
    'name, hint',
    [
        ('htps://host/file.pth', 'Did you mean https://'),
        ('open-mmlabs://resnet50', 'Did you mean open-mmlab://'),
        ('gopher://host/file.pth', 'Known schemes are .*http, https, .*s3'),
        ('file:///tmp/file.pth', 'Give a local file by its path'),
    ],
)
@pytest.mark.parametrize(
    'load', [resolve, CheckpointLoader.load_checkpoint, lambda url: load_pretrained(ResT(TINY), url), check_checkpoint]
)
def test_load_unknown_scheme_raises_with_hint(load, name, hint):
    with pytest.raises(CheckpointError, match=f'^{name} has the unknown scheme {name.split(":")[0]}://.*{hint}'):
        load(name)


@pytest.mark.parametrize('name', ['s3://bucket/file.pth', 'openmmlab:s3://bucket/file.pth', 'pavi://file.pth'])
def test_resolve_storage_scheme_is_kept(name):
    assert resolve(name) == name


def test_download_error_pickled_keeps_its_message():
    error = pickle.loads(pickle.dumps(DownloadError('http://x/y', 'because')))
    assert str(error) == str(DownloadError('http://x/y', 'because')) and error.reason == 'because'


def rank(number, port, url, home, answers):
    os.environ.update(
        TORCH_HOME=home,
        LOCAL_RANK=str(number),
        RANK=str(number),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    torch.distributed.init_process_group('gloo')
    try:
        answers.put(str(downloads.fetch_once(url)))
    except DownloadError as error:
        answers.put(error.reason)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['good.pth', 'none.pth'])
def test_fetch_once_in_two_processes_downloads_once(server, tmp_path, name):
    """The first downloads; if it fails, the other fails for the same reason and does not wait."""
    context = multiprocessing.get_context('spawn')
    answers = context.Queue()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    processes = [
        context.Process(target=rank, args=(number, port, f'{server}/{name}', str(tmp_path), answers))
        for number in range(2)
    ]
    for process in processes:
        process.start()
    got = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert len(Handler.asked) == 1 and got[0] == got[1]
    assert got[0].endswith('good.pth' if name == 'good.pth' else '404 Not Found')
