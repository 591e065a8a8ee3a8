{{ config(meta={"dagster": {"ref": {"name": "cleaned_events"}}}) }}
-- No event happened after it was received, imported events are positioned in the order they were received. Live ones (in
-- the upper half of their day's positions) are in the order in which the log took them: workers' clocks may differ.
select event_id
from (
    select
        event_id,
        occurred_at,
        received_at,
        is_live,
        lag(received_at) over (partition by received_day, is_live order by position) as previous
    from (select *, position & 4294967295 >= 2147483648 as is_live from {{ ref('cleaned_events') }})
)
where occurred_at > received_at or (received_at < previous and not is_live)
