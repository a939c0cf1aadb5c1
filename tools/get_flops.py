"""Count parameters and multiply-accumulates (MACs) of a backbone or of the model of a config, by stage."""

from mmrest.commands.get_flops import main

if __name__ == '__main__':
    main()
