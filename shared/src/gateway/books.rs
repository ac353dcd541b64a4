//! Reading the gateway's own books: its journal and its list of charges, page by page.
//!
//! Neither is about one payment, so neither needs a claim, and nothing is changed by reading. What is read decides
//! nothing about a payment that is on its way: whoever reads compares, and opens breaks.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Gateway, chain};
use crate::outcome::Charge;

/// How long a page may take: nobody waits for it.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// No page is longer; a longer one is garbage.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A row of the gateway's journal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JournalRow {
    /// Its number; rows come in this order.
    pub seq: i64,
    /// When, by the gateway's clock.
    pub at: DateTime<Utc>,
    /// What it tells: `charge`, `void` and `refund` move money.
    pub kind: String,
    /// The key under which it happened.
    pub key: Option<String>,
    /// Of which charge.
    pub charge_id: Option<String>,
    /// How much, in decimal digits.
    pub amount: Option<String>,
    /// Of what.
    pub currency: Option<String>,
    /// What we called it.
    pub reference: Option<String>,
}

/// A part of a book.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page<T> {
    /// The rows, in order.
    pub data: Vec<T>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Why a page could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The gateway has no such book.
    #[error("the gateway does not show this book (it answers {0})")]
    NotOffered(u16),
    /// Not now.
    #[error("the gateway's books cannot be read: {0}")]
    Failed(String),
}

impl Gateway {
    /// The journal's rows after number `after`.
    ///
    /// # Errors
    /// The gateway keeps none, or did not show it.
    pub async fn journal(&self, after: i64, limit: usize) -> Result<Page<JournalRow>, Unread> {
        self.page(&format!("/journal?after={after}&limit={limit}")).await
    }

    /// The charges that the gateway lists after the one of that id; the first ones, if it is empty.
    ///
    /// # Errors
    /// The gateway lists none, or did not answer.
    pub async fn charges(&self, after: &str, limit: usize) -> Result<Page<Charge>, Unread> {
        self.page(&format!("/charges?after={after}&limit={limit}")).await
    }

    async fn page<T: DeserializeOwned>(&self, path: &str) -> Result<Page<T>, Unread> {
        let failed = |why: &dyn std::fmt::Display| Unread::Failed(why.to_string());
        let request = Request::get(format!("{}{path}", self.base)).body(Full::<Bytes>::default());
        let request = request.map_err(|why| failed(&why))?;
        let whole = async {
            let response = self.client.request(request).await.map_err(|why| failed(&chain(&why)))?;
            let status = response.status();
            if matches!(status.as_u16(), 400 | 404 | 405 | 501) {
                return Err(Unread::NotOffered(status.as_u16()));
            }
            if !status.is_success() {
                return Err(failed(&format_args!("it answers {status}")));
            }
            let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
            let body = body.map_err(|why| failed(&chain(&*why)))?.to_bytes();
            serde_json::from_slice(&body).map_err(|why| failed(&format_args!("a page is garbled: {why}")))
        };
        tokio::time::timeout(PAGE_TIMEOUT, whole)
            .await
            .unwrap_or_else(|_| Err(failed(&format_args!("no page within {PAGE_TIMEOUT:?}"))))
    }
}
