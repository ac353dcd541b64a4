-- What events make ($1, JSON objects in the names of the columns) beside the rows after $2 up to $3. As JSON, since then each
-- column is compared by its own type's rules, and none that is added later can be left out.
with told as materialized (
    select t.id, to_jsonb(t) as columns from jsonb_populate_recordset(null::$table, $1) t
),
standing as materialized (
    select s.id, to_jsonb(s) as columns from $table s where s.id > $2 and s.id <= $3
)
select coalesce(s.id, t.id) as payment, s.id is not null as is_there, t.id is not null as is_told, c.name as "column",
       s.columns ->> c.name as standing, t.columns ->> c.name as told
  from standing s
  full join told t on t.id = s.id
  left join lateral (
        select name from jsonb_object_keys(s.columns) name
         where t.id is not null and s.columns -> name is distinct from t.columns -> name) c on true
 where s.columns is distinct from t.columns
 order by 1, 4
