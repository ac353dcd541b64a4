//! The gateway's journal: what it really did, read over HTTP from its beginning to its end.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// So many rows at a time, which is as many as the gateway gives.
const PAGE: u32 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(60);

/// A reader that knows how far it has read.
#[derive(Debug)]
pub(super) struct Journal {
    http: reqwest::Client,
    url: String,
    after: i64,
}

/// One page, as it came.
#[derive(Debug, Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<Row<'a>>,
    has_more: bool,
}

/// What matters of a row. Requests and answers are rows, too, but move no money.
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
}

impl Journal {
    /// A reader of the journal of the gateway at `url`, at its beginning.
    pub(super) fn new(url: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { http, url: format!("{}/journal", url.trim_end_matches('/')), after: 0 })
    }

    /// Says whether there is anything to read from, before anybody waits for the rest.
    pub(super) async fn reach(&self) -> Result<()> {
        let body = self.get(1).await?;
        self.parse(&body).map(drop)
    }

    /// Shows `see` every row from where the last reading ended to the end.
    pub(super) async fn read_to_its_end(&mut self, mut see: impl FnMut(&Row<'_>)) -> Result<()> {
        loop {
            let body = self.get(PAGE).await?;
            let page = self.parse(&body)?;
            page.data.iter().for_each(&mut see);
            let has_more = page.has_more;
            if let Some(last) = page.data.last() {
                ensure!(
                    last.seq > self.after,
                    "the journal at {} does not go on after row {}",
                    self.url,
                    self.after
                );
                self.after = last.seq;
            } else {
                ensure!(!has_more, "the journal at {} has more, but gives nothing", self.url);
            }
            if !has_more {
                return Ok(());
            }
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
        let answer = answer.with_context(unreachable)?;
        Ok(answer.bytes().await.with_context(unreachable)?.to_vec())
    }

    fn parse<'a>(&self, body: &'a [u8]) -> Result<Page<'a>> {
        serde_json::from_slice(body).with_context(|| {
            format!("what {} answers is no journal: does --gateway-url name the gateway itself?", self.url)
        })
    }
}
