-- depends_on: {{ ref('items') }}  (publishing adds their category and creator keys)
with positioned as (
{{ positioned_events() }}
),

-- A session ends after a pause, and at the local midnight of the log, so that a day never depends on the next one.
paused as (
    select
        *,
        coalesce(
            occurred_at - lag(occurred_at) over (
                partition by user_id, received_day, starts_with(kind, 'exposure') order by occurred_at, position
            ) > {{ var('session_gap_ms') }},
            false
        ) as is_after_pause
    from positioned
    where kind != 'search'
),

numbered as (
    select
        *,
        sum(is_after_pause::int) over (
            partition by user_id, received_day, starts_with(kind, 'exposure') order by occurred_at, position
            rows unbounded preceding
        ) as session_number
    from paused
)

select
    event_id,
    kind,
    user_id,
    item_id,
    occurred_at,
    received_at,
    request_id,
    impression_id,
    shelf,
    device,
    slot,
    watch_ms,
    date,
    consent,
    position,
    event_key,
    received_day,
    case
        when not starts_with(kind, 'exposure') and user_id != '{{ var("nobody") }}' then concat_ws(':', user_id, received_day, session_number)
    end as session_id
from numbered
