with events as (
    select * from {{ ref('cleaned_events') }}
),

shown as (
    select * from events
    where kind = 'impression' and user_id != '{{ var("nobody") }}'
),

outcomes as (
    select * from events
    where kind in ('click', 'play', 'long_view', 'like', 'dislike', 'skip', 'share', 'follow')
),

-- An outcome counts when it happened within the label window after the impression, and was received within it: so the
-- labels of a day are settled a day later, and never change after that.
answering as (
    select
        shown.event_id as shown_id,
        outcomes.*
    from outcomes
    inner join shown
        on outcomes.impression_id = shown.event_id
        and outcomes.user_id = shown.user_id
        and outcomes.item_id = shown.item_id
    where
        outcomes.occurred_at <= shown.occurred_at + {{ var('label_window_ms') }}
        and outcomes.received_at <= shown.received_at + {{ var('label_window_ms') }}
        and outcomes.received_day >= shown.received_day - 2
),

-- Without an impression_id: the latest impression of that item before it, among those the log knew by then.
guessed as (
    select
        shown.event_id as shown_id,
        outcomes.*
    from outcomes
    inner join shown
        on outcomes.user_id = shown.user_id
        and outcomes.item_id = shown.item_id
    where
        outcomes.impression_id is null
        and outcomes.occurred_at between shown.occurred_at and shown.occurred_at + {{ var('label_window_ms') }}
        and outcomes.received_at between shown.received_at and shown.received_at + {{ var('label_window_ms') }}
    qualify row_number() over (partition by outcomes.event_id order by shown.occurred_at desc, shown.position desc) = 1
),

summed as (
    select
        shown_id,
        count(*) filter (kind = 'click') as clicks,
        count(*) filter (kind = 'long_view') as long_views,
        count(*) filter (kind = 'like') as likes,
        count(*) filter (kind = 'skip') as skips,
        sum(watch_ms) filter (kind = 'play') as watch_ms,
        max(received_at) as outcome_received_at,
        min(received_at) filter (kind = 'click') as click_received_at,
        min(received_at) filter (kind = 'long_view') as long_view_received_at
    from (
        select * from answering
        union all
        select * from guessed
    )
    group by shown_id
)

select
    shown.event_id as impression_id,
    shown.position,
    shown.user_id,
    shown.item_id,
    shown.occurred_at,
    shown.received_at,
    shown.request_id,
    shown.shelf,
    shown.device,
    shown.slot,
    shown.date,
    shown.session_id,
    (coalesce(summed.clicks, 0) > 0)::tinyint as click,
    (coalesce(summed.long_views, 0) > 0)::tinyint as long_view,
    (coalesce(summed.likes, 0) > 0)::tinyint as "like",
    (coalesce(summed.skips, 0) > 0)::tinyint as skip,
    coalesce(summed.watch_ms, 0)::bigint as watch_ms,
    summed.outcome_received_at,
    summed.click_received_at,
    summed.long_view_received_at,
    shown.received_day
from shown
left join summed on shown.event_id = summed.shown_id
where shown.received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
