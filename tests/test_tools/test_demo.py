"""tools/demo.py: pictures of what a model finds."""

import re
import shutil

import numpy as np
import pytest
import torch
from helpers.painted import listed, write_classifier
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from mmrest.apis.models import choose_classes

cv2 = pytest.importorskip('cv2')

SEGMENTOR = """
_base_ = '{repo}/configs/upernet_rest_lite_shapes.py'
head = dict(channels=8, norm_cfg=dict(_delete_=True, type='GN', num_groups=4))
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8),
                            sr_ratios=(8, 4, 2, 1))),
    decode_head=dict(in_channels=[8, 16, 24, 32], **head),
    auxiliary_head=dict(in_channels=24, **head))
"""


@pytest.fixture
def segmentor(repo, tmp_path):
    pytest.importorskip('mmseg')
    pytest.importorskip('mmcv._ext')
    (tmp_path / 'segmentor.py').write_text(SEGMENTOR.format(repo=repo))
    return tmp_path / 'segmentor.py'


@pytest.fixture
def folder(shapes, tmp_path):
    """Images of the same name in two folders, one of which cannot be read, and something else."""
    for place in ('a', 'b/c'):
        (tmp_path / 'images' / place).mkdir(parents=True)
        shutil.copy(shapes / 'images/val/000000.png', tmp_path / 'images' / place / '1.png')
    cv2.imwrite(str(tmp_path / 'images/a/1.jpg'), np.full((30, 50, 3), 90, np.uint8))
    (tmp_path / 'images/a/broken.png').write_bytes(b'nothing')
    (tmp_path / 'images/a/notes.txt').write_text('nothing')
    return tmp_path / 'images'


def test_demo_folder_paints_every_image(run, configs, checkpoint, folder, tmp_path, capsys):
    run(
        'demo',
        folder,
        configs['ResT'],
        checkpoint,
        '--out-dir',
        folder / 'out',
        '--score-thr',
        0.0,
        '--device',
        'cpu',
    )
    printed = capsys.readouterr().out
    assert '3 of 4 images painted' in printed
    assert re.search(r'Skipped: \S*images/a/broken.png cannot be read as an image', printed)
    assert listed(folder / 'out') == ['a/1.jpg', 'a/1.png', 'b/c/1.png']
    painted, image = cv2.imread(str(folder / 'out/b/c/1.png')), cv2.imread(str(folder / 'b/c/1.png'))
    assert painted.shape == (512, 512, 3)
    plain = cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC)
    assert 0.02 < (painted != plain).any(-1).mean() < 0.9
    # Once more: what was painted is neither taken for input nor painted over, as it might be somebody's images.
    with pytest.raises(SystemExit):
        run('demo', folder, configs['ResT'], checkpoint, '--out-dir', folder / 'out')
    assert 'out lies in' in capsys.readouterr().err


def test_demo_segmentor_paints_every_pixel(run, segmentor, folder, tmp_path):
    run('demo', folder / 'a/1.png', segmentor, 'none', '--out-dir', 'new/out')
    painted, image = cv2.imread(str(tmp_path / 'new/out/1.png')), cv2.imread(str(folder / 'a/1.png'))
    assert (painted != cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC)).any(-1).mean() > 0.9


def test_demo_video_keeps_frames_and_rate(run, configs, checkpoint, shapes, tmp_path, capsys):
    writer = cv2.VideoWriter(str(tmp_path / 'in.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 7, (74, 58))
    frames = [cv2.resize(cv2.imread(str(path)), (74, 58)) for path in sorted((shapes / 'images/val').iterdir())]
    for frame in frames:
        writer.write(frame)
    writer.release()
    run('demo', 'in.avi', configs['ResT'], checkpoint, '--out-dir', 'out')
    assert f'{len(frames)} frames painted: out/in.mp4' in capsys.readouterr().out and listed('out') == ['in.mp4']
    video = cv2.VideoCapture('out/in.mp4')
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(7) and video.get(cv2.CAP_PROP_FRAME_COUNT) == len(frames)
    for frame in frames:
        read, painted = video.read()
        assert read and painted.shape == (58 * 7, 74 * 7, 3)
        small = cv2.resize(painted, (74, 58), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - frame).mean() < 30  # the same scene, in the same colours
    run('demo', 'out/in.mp4', configs['ResT'], checkpoint, '--out-dir', 'again')
    with pytest.raises(SystemExit):
        run('demo', 'out/in.mp4', configs['ResT'], checkpoint, '--out-dir', 'out')
    assert 'would overwrite out/in.mp4' in capsys.readouterr().err and listed('out') == ['in.mp4']


GRAY = [
    'model.backbone.in_channels=1',
    'model.data_preprocessor.mean=[127.5]',
    'model.data_preprocessor.std=[64.0]',
    'model.data_preprocessor.bgr_to_rgb=False',
    'test_dataloader.dataset.pipeline.0.color_type=grayscale',
]


@pytest.mark.parametrize(
    'options',
    [
        GRAY,
        ['test_dataloader.dataset.pipeline.0.to_float32=True'],
        ['test_dataloader.dataset.pipeline.0.imdecode_backend=pillow'],
    ],
)
def test_demo_video_frames_are_read_as_the_pipeline_reads_images(run, configs, shapes, tmp_path, capsys, options):
    writer = cv2.VideoWriter(str(tmp_path / 'in.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 7, (64, 64))
    for path in sorted((shapes / 'images/val').iterdir())[:2]:
        writer.write(cv2.imread(str(path)))
    writer.release()
    run('demo', 'in.avi', configs['ResT'], 'none', '--cfg-options', *options)
    assert '2 frames painted: outputs/in.mp4' in capsys.readouterr().out


def test_demo_unusable_image_is_skipped(run, configs, checkpoint, shapes, tmp_path, capsys):
    """Elongated images, of which nothing is left where they are made smaller."""
    (tmp_path / 'images').mkdir()
    shutil.copy(shapes / 'images/val/000000.png', tmp_path / 'images/b.png')
    for name, shape in (('a.png', (1, 4000, 3)), ('c.png', (4000, 1, 3))):
        cv2.imwrite(str(tmp_path / 'images' / name), np.zeros(shape, np.uint8))
    arguments = configs['ResT'], checkpoint, '--out-dir', 'out'
    run('demo', 'images', *arguments)
    out = capsys.readouterr().out
    assert '1 of 3 images painted' in out and listed('out') == ['b.png']
    assert re.search('Skipped: images/a.png cannot be used: Resize fails at 4000x1 px', out)
    assert 'Skipped: images/c.png' in out
    with pytest.raises(SystemExit) as status:
        run('demo', 'images/a.png', *arguments)
    assert status.value.code == 2 and 'images/a.png cannot be' in capsys.readouterr().err


def test_demo_files_that_are_no_images_are_named(run, configs, checkpoint, shapes, tmp_path, capsys):
    source = shapes / 'images/val/000000.png'
    (tmp_path / 'images/folder.jpg').mkdir(parents=True)
    for name in ('a b#100%.png', 'ü日本.PNG', 'folder.jpg/in.png'):
        shutil.copy(source, tmp_path / 'images' / name)
    large = cv2.imencode('.jpg', np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8))[1].tobytes()
    for name, content in (
        ('cut.png', source.read_bytes()[:600]),
        ('cut.jpg', large[: len(large) // 2]),
        ('empty.png', b''),
        ('text.jpg', b'text'),
    ):
        (tmp_path / 'images' / name).write_bytes(content)
    (tmp_path / 'images/link.png').symlink_to(tmp_path / 'nowhere')
    run('demo', 'images', configs['ResT'], checkpoint, '--out-dir', 'o ut/ü')
    printed = capsys.readouterr().out
    assert '3 of 8 images painted: o ut/ü' in printed
    assert listed('o ut/ü') == ['a b#100%.png', 'folder.jpg/in.png', 'ü日本.PNG']
    for name, fault in (
        ('cut.png', 'truncated'),
        ('cut.jpg', 'truncated'),
        ('empty.png', 'it is empty'),
        ('text.jpg', 'failed to load'),
        ('link.png', 'No such file'),
    ):
        assert re.search(f'Skipped: images/{name} cannot be read as an image: .*{fault}', printed)


@TRANSFORMS.register_module()
class ReadArray(BaseTransform):
    def transform(self, results):
        image = np.load(results['img_path'])
        return dict(results, img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


@pytest.fixture
def five_channels(configs, tmp_path):
    (tmp_path / 'five.py').write_text(f"""
_base_ = '{configs['ResT']}'
model = dict(backbone=dict(in_channels=5), data_preprocessor=dict(_delete_=True, type='DetDataPreprocessor'))
meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
pipeline = [dict(type='mmengine.ReadArray'), dict(type='Resize', scale=(64, 64)),
            dict(type='PackDetInputs', meta_keys=meta)]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
""")
    return tmp_path / 'five.py'


def test_demo_custom_loader_reads_its_files(run, five_channels, shapes, tmp_path, capsys):
    (tmp_path / 'arrays/a').mkdir(parents=True)
    image = cv2.imread(str(shapes / 'images/val/000000.png'))
    np.save(tmp_path / 'arrays/a/1.npy', np.concatenate([image, image], -1)[..., :5].astype(np.float32) / 255)
    (tmp_path / 'arrays/notes.txt').write_text('nothing')
    run('demo', 'arrays', 'five.py', 'none', '--out-dir', 'out', '--score-thr', 1.0)
    assert 'Skipped: arrays/notes.txt cannot be read' in capsys.readouterr().out and listed('out') == ['a/1.npy.png']
    painted = cv2.resize(cv2.imread('out/a/1.npy.png'), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.median(np.abs(painted.astype(int) - image)) <= 2


def test_demo_undecodable_frames_are_skipped(run, configs, checkpoint, shapes, tmp_path, capsys):
    writer = cv2.VideoWriter(str(tmp_path / 'in.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 7, (64, 64))
    for path in sorted((shapes / 'images/val').iterdir()) * 2:
        writer.write(cv2.imread(str(path)))
    writer.release()
    content = (tmp_path / 'in.avi').read_bytes()
    places = [found.start() for found in re.finditer(b'00dc', content)]
    size = int.from_bytes(content[places[3] + 4 : places[3] + 8], 'little')
    (tmp_path / 'bad.avi').write_bytes(content[: places[3] + 8] + bytes(size) + content[places[3] + 8 + size :])
    (tmp_path / 'cut.avi').write_bytes(content[: places[5]])
    for name, painted, lost in (('bad', 7, 1), ('cut', 4, 4)):
        run('demo', f'{name}.avi', configs['ResT'], checkpoint, '--out-dir', 'out')
        printed = capsys.readouterr().out
        assert f'{painted} frames painted' in printed and f'Skipped: {lost} of 8 frames. Frame ' in printed


def test_demo_checkpoint_of_other_classes_is_refused(run, configs, checkpoint, folder, capsys):
    with pytest.raises(SystemExit) as status:
        run(
            'demo',
            folder / 'a/1.png',
            configs['ResT'],
            checkpoint,
            '--cfg-options',
            'model.bbox_head.num_classes=7',
        )
    assert status.value.code == 2 and 'would keep random values' in capsys.readouterr().err


@pytest.mark.parametrize(
    'args, message',
    [
        (['{images}/a/broken.png'], 'broken.png cannot be read as an image'),
        (['{images}/a/notes.txt'], 'neither an image .* nor a video'),
        (['{images}/a/video.mp4'], 'There is no folder or image'),
        (['{broken}'], 'cannot be read as a video'),
        (['{images}/a', '--out-dir', '{images}/a'], 'would overwrite the images'),
        (['{images}', '--device', 'nothing'], 'The device nothing cannot be used'),
    ],
)
def test_demo_bad_input_is_one_message(run, configs, checkpoint, folder, tmp_path, capsys, args, message):
    (tmp_path / 'broken.mp4').write_bytes(b'nothing')
    args = [arg.format(images=folder, broken=tmp_path / 'broken.mp4') for arg in args]
    with pytest.raises(SystemExit) as exit_status:
        run('demo', *args[:1], configs['ResT'], checkpoint, *args[1:])
    assert exit_status.value.code == 2 and re.search(message, capsys.readouterr().err)


def test_demo_missing_image_is_named_before_the_model_is_loaded(run, capsys):
    with pytest.raises(SystemExit):
        run('demo', 'gone.png', 'gone.py', 'gone.pth')
    assert 'There is no folder or image gone.png.' in capsys.readouterr().err


def test_demo_untrusted_checkpoint_runs_no_code(run, configs, folder, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / 'ran'), 'w'))

    torch.save(dict(state_dict=Evil()), tmp_path / 'evil.pth')
    with pytest.raises(SystemExit):
        run('demo', folder, configs['ResT'], tmp_path / 'evil.pth')
    assert 'error: ' in capsys.readouterr().err and not (tmp_path / 'ran').exists()


def test_demo_classifier_paints_an_image(run, shapes, tmp_path):
    write_classifier(tmp_path, shapes / 'images/val/000000.png')
    run('demo', 'data/disc/000000.png', 'classifier.py', 'none', '--out-dir', 'painted')
    assert listed('painted') == ['000000.png']


COLORS = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    'metainfo, meta, expected',
    [
        ({}, {}, ((), ())),
        (dict(classes=['a', 'b'], palette=COLORS), {}, (('a', 'b'), ((1, 2, 3), (4, 5, 6)))),
        (dict(classes='a', palette=COLORS), {}, (('a',), ())),
        ({}, dict(dataset_meta=dict(CLASSES=('a', 'b'), PALETTE=COLORS)), (('a', 'b'), ((1, 2, 3), (4, 5, 6)))),
        (dict(classes=['c', 'd'], palette=COLORS), dict(dataset_meta=dict(classes=['a', 'b'])), (('a', 'b'), ())),
        (
            dict(classes=['a', 'b'], palette=COLORS),
            dict(dataset_meta=dict(classes=['a', 'b'], palette='coco')),
            (('a', 'b'), ((1, 2, 3), (4, 5, 6))),
        ),
        (dict(classes=['c']), dict(dataset_meta='nothing'), (('c',), ())),
        ({}, dict(dataset_meta=dict(classes=['a'], palette=[7])), (('a',), ())),
    ],
)
def test_choose_classes_of_the_checkpoint_come_first(metainfo, meta, expected):
    assert choose_classes(dict(metainfo=metainfo), meta) == expected
