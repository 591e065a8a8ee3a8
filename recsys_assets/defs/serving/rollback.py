"""The champion put back to the bundle before it, from the Dagster UI."""

import dagster as dg

from recsys_assets.resources import Workspace


@dg.op
def point_champion_back(context: dg.OpExecutionContext, workspace: Workspace) -> None:
    """The champion is again the bundle that it was before this one."""
    from recsys.registry import RegistryError
    from recsys_assets.rollback import roll_back

    try:
        context.log.info(roll_back(workspace.settings, f"job rollback, run {context.run_id}"))
    except RegistryError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


@dg.job
def rollback() -> None:
    """Undo the last promotion: `make rollback` as a job."""
    point_champion_back()
