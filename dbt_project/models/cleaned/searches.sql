select
    event_id,
    user_id,
    query,
    occurred_at,
    received_at,
    request_id,
    shelf,
    device,
    date,
    position,
    event_key,
    received_day
from ({{ positioned_events() }})
where kind = 'search' and received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
