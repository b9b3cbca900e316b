"""Train and evaluate one run, or a sweep of them.

python train.py lora=all_linear data=mixed
python train.py -m lora=all_linear,qv seed=0,1,2
"""

import sys

from experiments.cli import train_command

if __name__ == "__main__":
    train_command.start(sys.argv[0], sys.argv[1:])
