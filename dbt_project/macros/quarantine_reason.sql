{# Why a row cannot be used, null when it can. The first that holds is given. #}
{% macro quarantine_reason() %}
    case
        when event_id is null or event_id = '' then 'missing_event_id'
        when user_id is null or user_id = '' then 'missing_user_id'
        when item_id is null or item_id = '' then 'missing_item_id'
        when kind is null or kind not in ('{{ var("kinds") | join("', '") }}') then 'unknown_kind'
        when occurred_at is null or received_at is null then 'missing_instant'
        when occurred_at not between {{ var('earliest_ms') }} and {{ var('latest_ms') }} then 'absurd_instant'
        when received_at not between {{ var('earliest_ms') }} and {{ var('latest_ms') }} then 'absurd_instant'
        when occurred_at > received_at + {{ var('clock_skew_ms') }} then 'too_far_ahead'
        when watch_ms < 0 then 'negative_watch'
        when watch_ms > 86400000 then 'watch_over_a_day'
        when slot < 0 then 'negative_slot'
        when consent = false then 'no_consent'
    end
{% endmacro %}
