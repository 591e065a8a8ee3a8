{{ config(meta={"dagster": {"ref": {"name": "cleaned_events"}}}) }}
-- For each asked day: deliveries = cleaned + quarantined + duplicates + searches.
with counted as (
    select received_day, count(*) as deliveries, 0 as fates
    from {{ ref('stg_events') }}
    group by received_day
    union all
    select received_day, 0, count(*) from {{ ref('cleaned_events') }} group by received_day
    union all
    select received_day, 0, count(*) from {{ ref('quarantine') }} group by received_day
    union all
    select received_day, 0, count(*) from {{ ref('duplicates') }} group by received_day
    union all
    select received_day, 0, count(*) from {{ ref('searches') }} group by received_day
)

select
    received_day,
    sum(deliveries) as deliveries,
    sum(fates) as fates
from counted
where received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
group by received_day
having sum(deliveries) != sum(fates)
