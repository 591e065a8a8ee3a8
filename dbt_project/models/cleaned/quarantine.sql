select * exclude (is_duplicate)
from {{ ref('judged_events') }}
where reason is not null and received_day between date '{{ var("start") }}' and date '{{ var("end") }}'
