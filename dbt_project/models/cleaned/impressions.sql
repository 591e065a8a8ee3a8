with events as (
    select * from {{ ref('cleaned_events') }}
),

-- Days on which the log does not say what was shown: there, who engages with an item was shown it just then.
silent_days as (
    select received_day
    from events
    group by received_day
    having count(*) filter (kind in ('impression', 'exposure')) = 0
),

-- The first of a visit; what answers an impression of another day implies none.
implied as (
    select engaged.*
    from events as engaged
    inner join silent_days on engaged.received_day = silent_days.received_day
    left join events as known
        on known.kind = 'impression'
        and engaged.user_id = known.user_id
        and engaged.item_id = known.item_id
        and engaged.occurred_at between known.occurred_at and known.occurred_at + {{ var('label_window_ms') }}
    where
        engaged.kind in ('click', 'play', 'long_view', 'like', 'share', 'follow')
        and engaged.user_id != '{{ var("nobody") }}'
        and known.event_key is null
    qualify row_number() over (
        partition by engaged.session_id, engaged.item_id order by engaged.occurred_at, engaged.position
    ) = 1
),

shown as (
    select *, false as is_implied from events
    where kind = 'impression' and user_id != '{{ var("nobody") }}'
    union all
    select *, true as is_implied from implied
),

outcomes as (
    select * from events
    where kind in ('click', 'play', 'long_view', 'like', 'dislike', 'skip', 'share', 'follow')
),

-- An outcome counts when it happened within the label window after the impression, and was received within it: so the
-- labels of a day are settled a day later, and never change after that. It answers the impression whose event_id it
-- names, or bears itself. One that names none answers any before it of that pair, among those the log knew by then.
candidates as (
    select
        shown.position as shown_position,
        shown.occurred_at as shown_occurred_at,
        shown.received_at as shown_received_at,
        shown.is_implied as shown_is_implied,
        outcomes.*,
        coalesce(outcomes.impression_id, outcomes.event_id) = shown.event_id as is_named
    from outcomes
    inner join shown
        on outcomes.user_id = shown.user_id
        and outcomes.item_id = shown.item_id
    where
        outcomes.occurred_at <= shown.occurred_at + {{ var('label_window_ms') }}
        and outcomes.received_at <= shown.received_at + {{ var('label_window_ms') }}
        and outcomes.received_day >= shown.received_day - 2
),

-- Of several, since ids are used again: the latest before it that the log knew by then.
answering as (
    select *
    from candidates
    where
        is_named
        or (
            (impression_id is null or shown_is_implied)
            and shown_occurred_at <= occurred_at
            and shown_received_at <= received_at
        )
    qualify row_number() over (
        partition by event_key
        order by
            is_named desc, shown_received_at <= received_at desc, shown_occurred_at <= occurred_at desc,
            abs(occurred_at - shown_occurred_at), shown_position desc
    ) = 1
),

summed as (
    select
        shown_position,
        count(*) filter (kind = 'click') as clicks,
        count(*) filter (kind = 'long_view') as long_views,
        count(*) filter (kind = 'like') as likes,
        count(*) filter (kind = 'skip') as skips,
        sum(watch_ms) filter (kind = 'play') as watch_ms,
        max(received_at) as outcome_received_at,
        min(received_at) filter (kind = 'click') as click_received_at,
        min(received_at) filter (kind = 'long_view') as long_view_received_at
    from answering
    group by shown_position
)

select
    shown.event_key as impression_id,
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
    (shown.is_implied or coalesce(summed.clicks, 0) > 0)::tinyint as click,
    (coalesce(summed.long_views, 0) > 0)::tinyint as long_view,
    (coalesce(summed.likes, 0) > 0)::tinyint as "like",
    (coalesce(summed.skips, 0) > 0)::tinyint as skip,
    coalesce(summed.watch_ms, 0)::bigint as watch_ms,
    coalesce(summed.outcome_received_at, if(shown.is_implied, shown.received_at, null)) as outcome_received_at,
    coalesce(summed.click_received_at, if(shown.is_implied, shown.received_at, null)) as click_received_at,
    summed.long_view_received_at,
    case when shown.is_implied then 1.0 end as sampling_rate,
    shown.received_day
from shown
left join summed on shown.position = summed.shown_position
where shown.received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
