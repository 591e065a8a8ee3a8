select
    session_id,
    any_value(user_id) as user_id,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    count(*) as events,
    count(*) filter (kind = 'impression') as impressions,
    count(*) filter (kind = 'click') as clicks,
    count(*) filter (kind = 'long_view') as long_views,
    coalesce(sum(watch_ms) filter (kind = 'play'), 0)::bigint as watch_ms,
    min(position) as first_position,
    any_value(received_day) as received_day
from {{ ref('cleaned_events') }}
where session_id is not null and received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
group by session_id
