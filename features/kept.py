"""What a member bought and kept: purchases with the returns taken off, as SQL."""

from __future__ import annotations

KEPT = """
with sales as (select * from known where quantity > 0),
tied as (
    select r.reverses as purchase_id, sum(r.quantity) as units
    from known r semi join sales s on r.reverses = s.purchase_id where r.quantity < 0 group by r.reverses
),
touched as (
    -- only these need the walk below; most pairs of member and product never saw a return
    select member_id, product_id from known where quantity < 0
    union
    select s.member_id, s.product_id from sales s semi join tied using (purchase_id)
),
flows as (
    -- a return that names its sale is taken off that sale; any other stands for itself
    select s.member_id, s.product_id, s.purchase_id, s.basket_id, s.occurred_at,
        greatest(s.quantity + coalesce(t.units, 0), 0) as bought, 0 as returned
    from sales s semi join touched using (member_id, product_id) left join tied t using (purchase_id)
    union all
    select r.member_id, r.product_id, r.purchase_id, r.basket_id, r.occurred_at, 0, -r.quantity
    from known r anti join sales s on r.reverses = s.purchase_id where r.quantity < 0
),
walked as (
    select *, sum(returned - bought) over newest as level from flows
    window newest as (partition by member_id, product_id
        order by occurred_at desc, returned desc, purchase_id desc rows unbounded preceding)
),
owing as (
    -- walking back in time, returns add to what is owed and sales pay it off: level − its lowest value so far, or 0
    select *, level - least(0, min(level) over newest) as owed from walked
    window newest as (partition by member_id, product_id
        order by occurred_at desc, returned desc, purchase_id desc rows unbounded preceding)
),
kept as (
    select member_id, product_id, basket_id, occurred_at from owing
    qualify bought > coalesce(lag(owed) over (partition by member_id, product_id
        order by occurred_at desc, returned desc, purchase_id desc), 0)
    union all
    select member_id, product_id, basket_id, occurred_at from sales anti join touched using (member_id, product_id)
)
select member_id, product_id, max(epoch_us(occurred_at)) / 1e6 as bought_at
from kept group by member_id, product_id, basket_id order by member_id, product_id, bought_at, basket_id
"""
"""One row for each member, product and basket of which something was kept, from the rows of `known`, a table of
purchases. A return that names its sale is taken off that sale; any other is taken off the member's latest sales of the
product before it. A return of more than was ever bought leaves nothing and does no harm to later sales."""
