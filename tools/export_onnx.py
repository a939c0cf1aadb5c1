"""Export a backbone, a RetinaNet up to decoded boxes or a UPerNet up to logits to ONNX, at any size and batch."""

from mmrest.commands.export_onnx import main

if __name__ == '__main__':
    main()
