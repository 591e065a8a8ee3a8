"""A person looks at a finding that holds promotions back, and lets it stand."""

import dagster as dg


class Accepted(dg.Config):
    """Which finding a person has looked at, and why it may stand."""

    asset: str
    check: str
    reason: str


@dg.op
def note_acceptance(context: dg.OpExecutionContext, config: Accepted) -> None:
    """The check counts as passed from here on, with the person's reason in its history."""
    if not config.reason.strip():
        raise dg.Failure("say why: the reason is what the next one will read", allow_retries=False)
    context.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(config.asset),
            check_name=config.check,
            passed=True,
            description=f"accepted by hand: {config.reason}",
            metadata={"run": context.run_id},
        )
    )


@dg.job
def accept_finding() -> None:
    """Clear a finding that holds promotions back, by hand and with a reason."""
    note_acceptance()
