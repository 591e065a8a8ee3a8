{#- Every event that is kept, searches among them, at its place in the order of the log. -#}
{% macro positioned_events() %}
    select
        * replace (
            -- An event that came back from the online log keeps its position, in the upper half of its day's.
            coalesce(
                position,
                first_position
                + row_number() over (partition by received_day, position is null order by received_at, event_id, event_key)
                - 1
            ) as position
        )
    from (
        select
            * replace (
                least(occurred_at, received_at) as occurred_at,
                coalesce(date, strftime(received_day, '%Y-%m-%d')) as date
            ),
            (received_day - date '1970-01-01') << 32 as first_position -- recsys.events.first_position
        from {{ ref('judged_events') }}
        where reason is null and not is_duplicate
    )
{%- endmacro %}
