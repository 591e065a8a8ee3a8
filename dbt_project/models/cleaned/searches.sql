select
    event_id,
    user_id,
    query,
    least(occurred_at, received_at) as occurred_at,
    received_at,
    request_id,
    shelf,
    device,
    coalesce(date, strftime(received_day, '%Y-%m-%d')) as date,
    event_key,
    received_day
from {{ ref('judged_events') }}
where
    kind = 'search' and reason is null and not is_duplicate
    and received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
