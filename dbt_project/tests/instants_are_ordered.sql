{{ config(meta={"dagster": {"ref": {"name": "cleaned_events"}}}) }}
-- No event happened after it was received, and imported events are positioned in the order they were received.
select event_id
from (
    select
        event_id,
        occurred_at,
        received_at,
        lag(received_at) over (partition by received_day order by position) as previous
    from {{ ref('cleaned_events') }}
    where received_day not in (
        select received_day from {{ ref('judged_events') }} where position is not null
    )
)
where occurred_at > received_at or received_at < previous
