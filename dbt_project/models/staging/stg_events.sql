with source as (
    select * from {{ source('raw', 'events') }}
),

renamed as (
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
        query,
        date,
        consent,
        position,
        event_key,
        cast(regexp_extract(filename, '(\d{4}-\d{2}-\d{2})\.parquet$', 1) as date) as received_day
    from source
)

select * from renamed
