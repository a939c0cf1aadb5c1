"""Count parameters and multiply-accumulates (MACs) by stage: of a backbone, or of the model of a config."""

from mmrest.commands.get_flops import main

if __name__ == '__main__':
    main()
