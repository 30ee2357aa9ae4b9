"""Commands, one file each. Nothing here imports torch before it is needed."""

import os

# Read by OpenMP when torch is imported: threads that wait for each other sleep instead of spinning. Beside loader
# processes or other users of the machine, a training step on two cores took ten times longer with spinning threads.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
