-- Two days before the asked ones and one after them are judged too: their events may be outcomes of the impressions asked.
with events as (
    select
        *,
        {{ quarantine_reason() }} as reason
    from {{ ref('stg_events') }}
    where received_day <= date '{{ var("end") }}' + 1
),

earlier as (
    select distinct event_key
    from events
    where received_day < date '{{ var("start") }}' - 2 and reason is null
),

asked as (
    select * from events
    where received_day >= date '{{ var("start") }}' - 2
),

ranked as (
    select
        *,
        -- every column that may differ between two deliveries takes part, so that the winner never depends on row order
        row_number() over (
            partition by event_key, reason is null
            order by received_day, received_at, position nulls last, date, watch_ms,
                request_id, impression_id, shelf, device, slot
        ) as delivery
    from asked
)

select
    ranked.* exclude (delivery),
    ranked.reason is null and (ranked.delivery > 1 or earlier.event_key is not null) as is_duplicate
from ranked
left join earlier on ranked.event_key = earlier.event_key
