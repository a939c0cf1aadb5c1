"""Train variants of a backbone with several seeds each: one training after the other, and a table of all."""

from mmrest.commands.run_ablation import main

if __name__ == '__main__':
    main()
