"""Export to ONNX for any size and batch: a backbone, a RetinaNet up to decoded boxes or a UPerNet up to logits."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('export_onnx')
