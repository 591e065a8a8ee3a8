with source as (
    select * from {{ source('raw', 'items') }}
),

renamed as (
    select
        item_id,
        item_type,
        creator_id,
        category,
        tags,
        title,
        language,
        description,
        creator_name,
        embedding,
        duration_ms,
        published_at,
        is_available,
        id_is_integer
    from source
)

select * from renamed
