select * from {{ ref('stg_items') }}
where item_id is not null and item_id != ''
qualify row_number() over (
    partition by item_id order by published_at, item_type, creator_id, category, title, duration_ms, is_available
) = 1
