"""Draw figures of the papers for any model and images: writes a picture and its numbers."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('analyze')
