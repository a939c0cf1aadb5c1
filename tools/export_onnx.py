"""Export to ONNX for any size and batch: a backbone, a RetinaNet up to decoded boxes or a UPerNet up to logits."""

from mmrest.commands.export_onnx import main

if __name__ == '__main__':
    main()
