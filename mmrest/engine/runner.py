"""mmengine's runner, with a work dir that stays as it is until the run is known to be possible."""
from __future__ import annotations

from mmengine.runner import Runner


class CheckedRunner(Runner):
    """Runner that does not write its config into the work dir while it is built.

    The config of a run that is resumed may lie there, and whether this one goes with its checkpoint is known only
    when model and optimizer are built.
    """

    def dump_config(self) -> None:
        """Do nothing; mmengine calls this at the end of building."""

    def write_config(self) -> None:
        """Write the config into the work dir."""
        super().dump_config()
