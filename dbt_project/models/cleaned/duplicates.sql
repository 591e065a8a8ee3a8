select
    event_id,
    kind,
    user_id,
    item_id,
    received_at,
    received_day
from {{ ref('judged_events') }}
where is_duplicate and received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
