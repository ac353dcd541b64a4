-- No two merchants are made at the same moment whose names people would take for one another.
-- Old code may run meanwhile: yes (it says nothing of it, as of the merchants that are there; a program compares with those itself).

alter table merchants add column folded text;
create unique index merchants_no_two_alike on merchants (folded) where folded is not null;
