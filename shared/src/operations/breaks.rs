//! Breaks: contradictions between two books. A break is open until a person closes it, or a decision,
//! correction or void that ends it.
//!
//! Invariants: one break is open for each payment (or other subject) and kind. What a person has closed is
//! not opened again for the same facts. A break moves no money and changes no payment. Only
//! [`crate::payment::transition`] closes breaks.

use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// Every kind of break, with the sentence that explains it.
pub const KINDS: &[(&str, &str)] = &[
    ("wrong_answer", "The gateway's books show another amount, currency or key than ours."),
    (
        "contradiction",
        "The gateway contradicts itself (several charges, one that somebody else voided, or yes and no), or the payment's own events contradict it.",
    ),
    ("unverifiable", "It may have been charged, and the gateway can neither look up nor void."),
    ("unreadable", "This version cannot read what the payment is about: another one wrote it."),
    (
        "void_unanswered",
        "The gateway has not answered a void for longer than a doubt may last; it is asked on and on.",
    ),
    (
        "restored",
        "It came back with a restored database, and the gateway shows nothing of it: its customer may have paid by a request that is forgotten here.",
    ),
    ("orphan", "A charge stands at the gateway for a payment that was forgotten with a restored database."),
    (
        "charge_of_another",
        "A charge stands under the key of a payment that ended without one, and it is not known to be its own. No machine voids it.",
    ),
    (
        "refund_held",
        "It is not known whether a refund was made, and the machine can learn no more; or the gateway shows another refund than was asked for.",
    ),
    ("refunded_after_end", "The gateway made a refund that had ended here without one."),
    (
        "over_refunded",
        "More was given back of the payment than was taken, by refunds that the gateway made without us.",
    ),
    ("poison", "Each worker that had the payment was lost, also the one that had nothing else in hand."),
    ("charged_after_end", "The gateway shows a charge for a payment that ended without one."),
    (
        "unproven_refuted",
        "A person ended the payment without proof, and the gateway's books say otherwise. No machine voids or changes anything.",
    ),
    ("missing_at_gateway", "The payment succeeded, and no charge for it stands in the gateway's journal."),
    ("charged_twice", "Several charges stand in the gateway's journal for one payment."),
    ("charge_differs", "The gateway's journal has another amount, currency or reference than the payment."),
    ("charge_unknown", "A charge stands in the gateway's journal that belongs to no payment."),
    ("charge_denied", "The gateway now denies the charge by which the payment succeeded."),
    ("transfer_missing", "The payment succeeded, and the ledger does not say so."),
    ("transfer_differs", "The ledger says something else than the payment."),
    ("transfer_unfounded", "The ledger moved money for a payment that did not succeed."),
    ("history", "The payment's events do not lead to what it is. If it was under way, it is held."),
    ("balance_shrank", "An account has less in its transfers than before."),
    ("journal_shrank", "The gateway's journal lacks rows that it had."),
];

/// The sentence for a kind; none for a kind that this version does not know.
#[must_use]
pub fn explained(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(known, _)| *known == kind).map(|(_, means)| *means)
}

/// A contradiction between two books.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `breaks`, which explains them")]
pub struct Break {
    pub id: i64,
    pub payment_id: Option<Uuid>,
    pub subject: Option<String>,
    pub kind: String,
    pub detail: Value,
    pub opened_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    pub closed_by: Option<String>,
    pub closed_reason: Option<String>,
    /// Whether the payment is held: then a decision about the payment closes the break.
    pub is_held: bool,
}

/// The breaks to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only breaks of this kind.
    pub kind: Option<String>,
    /// Only open breaks, or only closed ones.
    pub is_open: Option<bool>,
    /// Only breaks with a lower number, so older ones.
    pub before: Option<i64>,
    /// The largest number of breaks.
    pub limit: i64,
}

/// The breaks that `filter` describes, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Break>> {
    let before = filter.before.unwrap_or(i64::MAX);
    // Two statements, since only one of them can read the index of the open breaks.
    if filter.is_open == Some(true) {
        return sqlx::query_as!(
            Break,
            "select b.id, b.payment_id, b.subject, b.kind, b.detail, b.opened_at, b.closed_at, b.closed_by, b.closed_reason,
                    coalesce(p.held_reason is not null, false) as \"is_held!\"
               from (select * from breaks
                      where closed_at is null and id < $1 and ($3::text is null or kind = $3)
                      order by id desc limit $2) b
               left join payments p on p.id = b.payment_id
              order by b.id desc",
            before,
            filter.limit,
            filter.kind
        )
        .fetch_all(pool)
        .await;
    }
    sqlx::query_as!(
        Break,
        "select b.id, b.payment_id, b.subject, b.kind, b.detail, b.opened_at, b.closed_at, b.closed_by, b.closed_reason,
                coalesce(p.held_reason is not null, false) as \"is_held!\"
           from (select * from breaks
                  where id < $1 and ($3::text is null or kind = $3) and ($4::bool is null or closed_at is not null)
                  order by id desc limit $2) b
           left join payments p on p.id = b.payment_id
          order by b.id desc",
        before,
        filter.limit,
        filter.kind,
        filter.is_open
    )
    .fetch_all(pool)
    .await
}

/// The break of that number.
///
/// # Errors
/// Returns the database's error.
pub async fn find(pool: &PgPool, id: i64) -> sqlx::Result<Option<Break>> {
    sqlx::query_as!(
        Break,
        "select b.id, b.payment_id, b.subject, b.kind, b.detail, b.opened_at, b.closed_at, b.closed_by, b.closed_reason,
                coalesce(p.held_reason is not null, false) as \"is_held!\"
           from breaks b left join payments p on p.id = b.payment_id
          where b.id = $1",
        id
    )
    .fetch_optional(pool)
    .await
}

/// How many breaks are open, counted up to `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn count_open(pool: &PgPool, limit: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "select count(*) as \"count!\" from (select from breaks where closed_at is null limit $1) as open",
        limit
    )
    .fetch_one(pool)
    .await
}

/// The subject of a break.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A payment of ours.
    Payment(PaymentId),
    /// Anything else, in words: a key at the gateway, an account.
    Other(String),
}

/// A contradiction that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The payment or thing that it is about.
    pub subject: Subject,
    /// One of [`KINDS`], as a word.
    pub kind: String,
    /// The facts of both sides. The same facts give the same detail, so it has no times of looking in it.
    pub detail: Value,
}

impl Finding {
    /// A finding about a payment.
    #[must_use]
    pub fn about(payment_id: Uuid, kind: &str, detail: Value) -> Self {
        Self { subject: Subject::Payment(payment_id.into()), kind: kind.to_owned(), detail }
    }

    /// A finding about something else.
    #[must_use]
    pub fn about_other(subject: String, kind: &str, detail: Value) -> Self {
        Self { subject: Subject::Other(subject), kind: kind.to_owned(), detail }
    }
}

/// The result of opening breaks for findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// The findings that no person has closed already.
    pub found: i64,
    /// The subjects and kinds of the breaks that were opened now. For the other findings one was open.
    pub opened: Vec<(Subject, String)>,
}

/// Opens a break for each finding, unless one is open or a person has closed one for the same facts. The
/// result of a void was noted later, and is no such fact. If both name a charge, the same charge is the same
/// fact.
pub(crate) async fn open(connection: &mut PgConnection, mut findings: Vec<Finding>) -> sqlx::Result<Opened> {
    if findings.is_empty() {
        return Ok(Opened::default());
    }
    // Runs that overlap take their locks in one order.
    findings.sort_by(|a, b| (&a.subject, &a.kind).cmp(&(&b.subject, &b.kind)));
    let payment = |finding: &Finding| match &finding.subject {
        Subject::Payment(id) => Some(id.uuid()),
        Subject::Other(_) => None,
    };
    let other = |finding: &Finding| match &finding.subject {
        Subject::Payment(_) => None,
        Subject::Other(subject) => Some(subject.clone()),
    };
    let rows = sqlx::query!(
        "with said as materialized (
             select n, payment_id, subject, kind, detail
               from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[]) with ordinality
                    as s (payment_id, subject, kind, detail, n)),
         news as materialized (
             select * from said s
              where not exists (select from breaks b
                                 where b.payment_id = s.payment_id and b.kind = s.kind and b.closed_at is not null
                                   and (b.detail - 'void' = s.detail or b.detail ->> 'charge_id' = s.detail ->> 'charge_id'))
                and not exists (select from breaks b
                                 where b.subject = s.subject and b.kind = s.kind and b.closed_at is not null
                                   and b.detail = s.detail)),
         opened as (
             insert into breaks (payment_id, subject, kind, detail, opened_at)
             select payment_id, subject, kind, detail, clock_timestamp() from news order by n
                 on conflict do nothing
             returning payment_id, subject, kind)
         select o.payment_id, o.subject, o.kind as \"kind?\", f.found as \"found!\"
           from (select count(*) as found from news) f
           left join opened o on true",
        &findings.iter().map(payment).collect::<Vec<_>>() as &[Option<Uuid>],
        &findings.iter().map(other).collect::<Vec<_>>() as &[Option<String>],
        &findings.iter().map(|finding| finding.kind.clone()).collect::<Vec<_>>(),
        &findings.iter().map(|finding| finding.detail.clone()).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await?;
    let found = rows.first().map_or(0, |row| row.found);
    let opened = rows.into_iter().filter_map(|row| {
        let subject = match (row.payment_id, row.subject) {
            (Some(id), _) => Subject::Payment(id.into()),
            (None, subject) => Subject::Other(subject?),
        };
        Some((subject, row.kind?))
    });
    Ok(Opened { found, opened: opened.collect() })
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Payment(id) => id.fmt(f),
            Self::Other(subject) => f.write_str(subject),
        }
    }
}
