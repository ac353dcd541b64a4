//! The gateway's journal: what the gateway really did, read over HTTP from its beginning to its end.
//!
//! Invariant: the reading ends, whatever is answered. Each page leads on, none is longer than it may be, and
//! all of them together take no longer than they may.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::ids::GatewayName;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::time::Instant;

/// The rows of a page, as many as the gateway gives.
const PAGE: u32 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes of a page.
const PAGE_BYTES: usize = 64 * 1024 * 1024;

/// The longest time for the whole journal. One that has not ended by then has no end.
const LONGEST: Duration = Duration::from_hours(1);

/// A reader that knows how far it has read.
#[derive(Debug)]
pub(super) struct Journal {
    gateway: GatewayName,
    http: reqwest::Client,
    url: String,
    after: i64,
    /// How long it reads at most.
    longest: Duration,
}

/// One page, as it came.
#[derive(Debug, Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<Row<'a>>,
    has_more: bool,
}

/// The fields of a row that matter here. Requests and answers are rows too, but move no money.
#[derive(Debug, Deserialize)]
pub(super) struct Row<'a> {
    seq: i64,
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) charge_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) amount: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) currency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) reference: Option<Cow<'a, str>>,
    /// Of what was done to a charge: its own key.
    #[serde(borrow)]
    pub(super) act_key: Option<Cow<'a, str>>,
    /// Of what was done to a charge: the gateway's id of it.
    #[serde(borrow)]
    pub(super) act_id: Option<Cow<'a, str>>,
}

impl Row<'_> {
    /// The same row, which outlives its page.
    pub(super) fn to_owned_row(&self) -> Row<'static> {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(|text| Cow::Owned(text.to_owned()));
        Row {
            seq: self.seq,
            kind: Cow::Owned(self.kind.to_string()),
            key: text(&self.key),
            charge_id: text(&self.charge_id),
            amount: text(&self.amount),
            currency: text(&self.currency),
            reference: text(&self.reference),
            act_key: text(&self.act_key),
            act_id: text(&self.act_id),
        }
    }
}

impl Journal {
    /// A reader of the journal of the gateway of that name at `url`, at its beginning.
    pub(super) fn new(gateway: GatewayName, url: &str, api_key: Option<&str>) -> Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .context("GATEWAY_API_KEY has characters that no header may have")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().default_headers(headers).build()?;
        let url = format!("{}/journal", url.trim_end_matches('/'));
        Ok(Self { gateway, http, url, after: 0, longest: LONGEST })
    }

    /// The gateway whose journal it is.
    pub(super) const fn gateway(&self) -> &GatewayName {
        &self.gateway
    }

    /// Tries whether the journal can be read, before the rest of the work begins.
    pub(super) async fn reach(&self) -> Result<()> {
        let body = self.get(1).await?;
        self.parse(&body).map(drop)
    }

    /// Shows `see` every row from where the last reading ended to the end.
    pub(super) async fn read_to_its_end(&mut self, mut see: impl FnMut(&Row<'_>)) -> Result<()> {
        let started = Instant::now();
        loop {
            let body = self.get(PAGE).await?;
            let page = self.parse(&body)?;
            let stuck =
                |after| format!("the gateway's journal at {} does not move on after row {after}", self.url);
            ensure!(!(page.has_more && page.data.is_empty()), stuck(self.after));
            for row in &page.data {
                ensure!(row.seq > self.after, stuck(self.after));
                self.after = row.seq;
                see(row);
            }
            if !page.has_more {
                return Ok(());
            }
            let longest = self.longest;
            ensure!(
                started.elapsed() < longest,
                "the gateway's journal at {} has come to no end within {longest:?}: it was read up to row {}",
                self.url,
                self.after
            );
        }
    }

    async fn get(&self, limit: u32) -> Result<Vec<u8>> {
        let url = format!("{}?after={}&limit={limit}", self.url, self.after);
        let answer = self.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let unreachable = || {
            format!(
                "cannot read the gateway's journal at {}: check --gateway-url (or GATEWAY_URL), and that it runs",
                self.url
            )
        };
        let mut answer = answer.with_context(unreachable)?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.with_context(unreachable)? {
            body.extend_from_slice(&part);
            if body.len() > PAGE_BYTES {
                bail!("a page of the gateway's journal at {} is longer than {PAGE_BYTES} bytes", self.url);
            }
        }
        Ok(body)
    }

    fn parse<'a>(&self, body: &'a [u8]) -> Result<Page<'a>> {
        serde_json::from_slice(body).with_context(|| {
            format!("what {} answers is no journal: does --gateway-url name the gateway itself?", self.url)
        })
    }
}

/// Shows `see` every row of each journal from where the last reading ended to the end.
pub(super) async fn read_to_their_ends(
    journals: &mut [Journal],
    mut see: impl FnMut(&GatewayName, &Row<'_>),
) -> Result<()> {
    for journal in journals {
        let gateway = journal.gateway.clone();
        journal.read_to_its_end(|row| see(&gateway, row)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A gateway whose journal has one more row on each page, without end.
    async fn without_end() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for seq in 1.. {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4096]).await;
                let body = format!(r#"{{"data":[{{"seq":{seq},"kind":"request"}}],"has_more":true}}"#);
                let head =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn a_journal_without_an_end_is_not_read_for_ever() {
        let mut journal = Journal {
            longest: Duration::from_millis(50),
            ..Journal::new(GatewayName::default(), &without_end().await, None).unwrap()
        };

        let why = journal.read_to_its_end(|_| ()).await.unwrap_err().to_string();

        assert!(why.contains("has come to no end within 50ms: it was read up to row"), "{why}");
    }
}
