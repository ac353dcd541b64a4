-- Keys are compared byte by byte: they need no order of a language, which costs several times as much.
-- Old code may run meanwhile: yes (it finds the same rows).
alter table gateway_charges
    alter column id type text collate "C",
    alter column key type text collate "C";
alter table gateway_keys alter column key type text collate "C";
