//! Reading the gateway's own books: its journal and its list of charges, page by page.
//!
//! Neither book is about one payment, so neither needs a claim, and reading changes nothing. What is read
//! decides nothing about a payment that is on its way: the reader compares, and opens breaks.
//!
//! Invariant: a reading ends, whatever the gateway answers. Each page leads on or is an error, and one
//! reading takes no more pages and time than it is given.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::outcome::Charge;
use tokio::time::Instant;

use super::Gateway;
use super::adapter::Adapter;
use super::wire::{Call, Exchange, Limits};

/// How long a page may take, as nobody waits for it, and how long it may be: a longer one is garbage.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), answer_bytes: 4 * 1024 * 1024 };

/// Rows in one page.
const PAGE_ROWS: usize = 1_000;

/// The longest part of a place that an error quotes.
const QUOTED: usize = 100;

/// A row of the gateway's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// The number of the row; rows come in this order.
    pub seq: i64,
    /// The time of the row, by the gateway's clock.
    pub at: DateTime<Utc>,
    /// The word for what happened: `charge`, `void` and `refund` move money.
    pub kind: String,
    /// The key under which it happened.
    pub key: Option<String>,
    /// The gateway's id of the charge.
    pub charge_id: Option<String>,
    /// The amount, in decimal digits.
    pub amount: Option<String>,
    /// The currency code as the gateway writes it.
    pub currency: Option<String>,
    /// The name that we gave the charge: a payment's id.
    pub reference: Option<String>,
    /// Of what was done to a charge: the key under which it was asked for, if it was.
    pub act_key: Option<String>,
    /// Of what was done to a charge: the gateway's id of it.
    pub act_id: Option<String>,
}

/// A part of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in order.
    pub data: Vec<T>,
    /// Whether more rows follow.
    pub has_more: bool,
}

/// Why a page could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The gateway has no such book; the number is the HTTP status.
    #[error("the gateway does not show this book (it answers {0})")]
    NotOffered(u16),
    /// The page cannot be read now.
    #[error("the gateway's books cannot be read: {0}")]
    Failed(String),
    /// A page repeats rows, goes back, or is empty although more rows follow. A reader that follows it never
    /// comes to an end.
    #[error("the gateway's {book} does not move on after {after}")]
    Stuck {
        /// The name of the book.
        book: &'static str,
        /// The last place that the book led to, for people.
        after: String,
    },
}

/// A row of a book, which has its place in it.
pub trait Row: Sized {
    /// Grows from row to row.
    type Place: Ord + Clone + Display;

    /// The name of the book, as in "the gateway's …".
    const BOOK: &'static str;

    /// The row's own place.
    fn place(&self) -> Self::Place;

    /// To ask for the rows after that place.
    fn call(adapter: &dyn Adapter, after: &Self::Place) -> Call;

    /// A page of them.
    ///
    /// # Errors
    /// The gateway keeps no such book, or did not show it.
    fn page(adapter: &dyn Adapter, exchange: &Exchange) -> Result<Page<Self>, Unread>;
}

impl Bounds {
    /// The part of one of `readers` that read one after the other.
    #[must_use]
    pub fn shared_by(self, readers: usize) -> Self {
        let readers = u32::try_from(readers).unwrap_or(u32::MAX).max(1);
        Self { time: self.time / readers, ..self }
    }
}

impl Row for JournalRow {
    type Place = i64;

    const BOOK: &'static str = "journal";

    fn place(&self) -> i64 {
        self.seq
    }

    fn call(adapter: &dyn Adapter, after: &i64) -> Call {
        adapter.journal(*after, PAGE_ROWS)
    }

    fn page(adapter: &dyn Adapter, exchange: &Exchange) -> Result<Page<Self>, Unread> {
        adapter.journal_page(exchange)
    }
}

impl Row for Charge {
    /// The charge's id, byte by byte; empty before the first one.
    type Place = String;

    const BOOK: &'static str = "list of charges";

    fn place(&self) -> String {
        self.id.clone()
    }

    fn call(adapter: &dyn Adapter, after: &String) -> Call {
        adapter.charges(after, PAGE_ROWS)
    }

    fn page(adapter: &dyn Adapter, exchange: &Exchange) -> Result<Page<Self>, Unread> {
        adapter.charges_page(exchange)
    }
}

/// The limits of one reading. The next one goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many pages are read.
    pub pages: usize,
    /// The time after which no further page is asked for.
    pub time: Duration,
}

/// A reading of one book, from a place on.
#[derive(Debug)]
pub struct Reading<'a, R: Row> {
    gateway: &'a Gateway,
    after: R::Place,
    pages_left: usize,
    until: Instant,
}

impl<R: Row> Reading<'_, R> {
    /// The next page; none if this reading may go no further.
    ///
    /// # Errors
    /// The gateway keeps no such book, did not show it, or shows a page that does not lead on.
    pub async fn next(&mut self) -> Result<Option<Page<R>>, Unread> {
        if self.pages_left == 0 || Instant::now() >= self.until {
            return Ok(None);
        }
        self.pages_left -= 1;
        let Gateway { adapter, wire, .. } = self.gateway;
        let exchange = wire.exchange(R::call(&**adapter, &self.after), "", LIMITS).await;
        let page = R::page(&**adapter, &exchange)?;
        self.after = leads_to(&page, &self.after)?;
        Ok(Some(page))
    }
}

/// The place that a page leads to. Each row must come after the one before, and an empty page must be the
/// last.
fn leads_to<R: Row>(page: &Page<R>, after: &R::Place) -> Result<R::Place, Unread> {
    let stuck = |after: &R::Place| Unread::Stuck { book: R::BOOK, after: quoted::<R>(after) };
    let mut last = after.clone();
    for row in &page.data {
        let place = row.place();
        if place <= last {
            return Err(stuck(&last));
        }
        last = place;
    }
    if page.data.is_empty() && page.has_more { Err(stuck(&last)) } else { Ok(last) }
}

fn quoted<R: Row>(place: &R::Place) -> String {
    let whole = place.to_string();
    if whole.is_empty() {
        "its beginning".to_owned()
    } else {
        format!("row {:.QUOTED$}", whole.escape_debug().to_string())
    }
}

impl Gateway {
    /// Reads a book from the rows after `after` on. For the journal 0 means its beginning; for the list of
    /// charges an empty id means the first one.
    pub fn read<R: Row>(&self, after: R::Place, bounds: Bounds) -> Reading<'_, R> {
        Reading { gateway: self, after, pages_left: bounds.pages, until: Instant::now() + bounds.time }
    }
}
