"""Time and memory of exported models: a graph whose memory is known, a program of torch, refusals."""

import sys

import pytest
import torch
from conftest import REPO
from torch import nn

from mmrest.engine import UsageError

if not (REPO / '.dev_scripts').is_dir():
    pytest.skip('the scripts for maintainers are not part of this copy', allow_module_level=True)
sys.path.insert(0, str(REPO / '.dev_scripts'))

import measure_exports  # noqa: E402

SHAPE = (600, 800)


@pytest.fixture
def graph(tmp_path) -> str:
    """ONNX file of a graph that makes and returns 8 copies of its images."""
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    images = onnx.helper.make_tensor_value_info('images', onnx.TensorProto.FLOAT, [1, 3, *SHAPE])
    copies = onnx.helper.make_tensor_value_info('copies', onnx.TensorProto.FLOAT, [1, 24, *SHAPE])
    node = onnx.helper.make_node('Concat', ['images'] * 8, ['copies'], axis=1)
    made = onnx.helper.make_graph([node], 'copies', [images], [copies])
    path = tmp_path / 'copies.onnx'
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=10), str(path))
    return str(path)


def test_table_has_the_memory_of_a_graph_in_a_process_of_its_own(graph, capsys):
    measure_exports.main([graph, '--shape', *map(str, SHAPE), '--num-rounds', '1', '--no-patterns'])
    *_, row = capsys.readouterr().out.splitlines()
    name, first, second, seconds, faster, _ = (cell.strip() for cell in row.strip('|').split('|'))
    output = 24 * SHAPE[0] * SHAPE[1] * 4 / 2**20
    assert name == 'copies.onnx' and output < float(first) <= float(second)
    assert float(first) == pytest.approx(output, rel=0.2)
    assert float(seconds) > 0 and float(faster) == 1


def test_program_of_torch_is_loaded(tmp_path):
    program = torch.export.export(nn.ReLU(), (torch.rand(1, 3, 64, 64),))
    torch.export.save(program, tmp_path / 'relu.pt2')
    assert (measure_exports.load(str(tmp_path / 'relu.pt2'))(-torch.ones(1, 3, 64, 64)) == 0).all()


@pytest.mark.parametrize('model', ['rest-tiny', 'missing.onnx', __file__])
def test_unknown_model_is_refused(model):
    with pytest.raises(UsageError, match='no file that ends in .onnx or .pt2, and none of rest-lite'):
        measure_exports.load(model)
