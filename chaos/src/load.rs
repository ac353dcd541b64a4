//! The clients: they post payments as merchants do, repeat a request with the same key until it is answered,
//! and ask until each payment has ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use rand::RngExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::client::{Client, Posted};
use super::history::History;
use super::order::Order;

/// How many clients post at a time.
const POSTERS: u64 = 24;
/// How many clients ask at a time.
const ASKERS: usize = 128;
/// The number of payments under way at which no more are posted, so that the load goes on to the end of what
/// is broken.
const OPEN_MAX: u64 = 1_000;
/// One order in this many is posted by two clients at once, as by an impatient customer.
const TWICE_EVERY: u64 = 20;
/// After this time without any end, nothing will end.
const STALLED: Duration = Duration::from_mins(3);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Figures that are counted while it happens.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Orders that were sent at least once.
    pub(super) attempted: AtomicU64,
    /// Orders for which a client holds a 2xx.
    pub(super) acknowledged: AtomicU64,
    /// Requests that were posted.
    pub(super) exchanges: AtomicU64,
    /// Requests that got no answer.
    pub(super) unanswered: AtomicU64,
    /// Requests that were told to come back.
    pub(super) put_off: AtomicU64,
    /// Payments that were seen to be over, or held.
    pub(super) ended: AtomicU64,
}

/// Payments that clients know, and what clients found that must not be.
#[derive(Debug, Default)]
struct Found {
    payments: HashMap<u64, (String, Order)>,
    statuses: BTreeMap<String, u64>,
    wrong: Vec<String>,
}

/// The clients of a run.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) counts: Counts,
    orders: u64,
    /// The time from one order to the next, where they are spread.
    pace: Duration,
    client: Client,
    found: Mutex<Found>,
    next: AtomicU64,
    began: Instant,
    /// When the youngest acknowledged request was sent, in microseconds since the beginning.
    sent_last: AtomicU64,
    posting: AtomicU32,
    is_enough: AtomicBool,
    gave_up: AtomicBool,
    asking: Semaphore,
    askers: TaskTracker,
}

/// Half to one and a half of the pause, so that clients who wait together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.5))
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Load {
    /// Lets the clients begin, with `orders` spread over `duration`, if there is one. They go on until these
    /// are made and it was said to be enough, so that everything is broken under load.
    pub(super) fn start(client: Client, orders: u64, duration: Option<Duration>) -> Arc<Self> {
        let pace = duration.map(|duration| duration / u32::try_from(orders.max(1)).unwrap_or(u32::MAX));
        let load = Arc::new(Self {
            counts: Counts::default(),
            orders,
            pace: pace.unwrap_or_default(),
            client,
            found: Mutex::default(),
            next: AtomicU64::new(0),
            began: Instant::now(),
            sent_last: AtomicU64::new(0),
            posting: AtomicU32::new(0),
            is_enough: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            asking: Semaphore::new(ASKERS),
            askers: TaskTracker::new(),
        });
        for _ in 0..POSTERS.min(orders) {
            load.posting.fetch_add(1, Ordering::Relaxed);
            let posting = load.clone();
            tokio::spawn(async move {
                posting.post_orders().await;
                posting.posting.fetch_sub(1, Ordering::Relaxed);
            });
        }
        load
    }

    /// Makes one more order, at that shop and by that method, beside those that the clients make
    /// by themselves.
    pub(super) fn buy(self: &Arc<Self>, shop: usize, payment_method: &'static str) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let order = Order { shop, payment_method, ..self.client.order(number) };
        self.counts.attempted.fetch_add(1, Ordering::Relaxed);
        self.posting.fetch_add(1, Ordering::Relaxed);
        let posting = self.clone();
        tokio::spawn(async move {
            posting.insist(number, &order).await;
            posting.posting.fetch_sub(1, Ordering::Relaxed);
        });
    }

    async fn post_orders(self: &Arc<Self>) {
        let began = Instant::now();
        while !self.gave_up.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.orders && self.is_enough.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep_until(began + self.pace * u32::try_from(number).unwrap_or(u32::MAX)).await;
            while self.open() >= OPEN_MAX && !self.gave_up.load(Ordering::Relaxed) {
                sleep(LOOK_EVERY).await;
            }
            let order = self.client.order(number);
            self.counts.attempted.fetch_add(1, Ordering::Relaxed);
            if number.is_multiple_of(TWICE_EVERY) {
                tokio::join!(self.insist(number, &order), self.insist(number, &order));
            } else {
                self.insist(number, &order).await;
            }
        }
    }

    /// Posts an order until there is an answer that says something about it.
    async fn insist(self: &Arc<Self>, number: u64, order: &Order) {
        let mut pause = Duration::from_millis(50);
        while !self.gave_up.load(Ordering::Relaxed) {
            self.counts.exchanges.fetch_add(1, Ordering::Relaxed);
            let sent = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
            match self.client.post(order).await {
                Posted::Accepted(payment) => {
                    self.sent_last.fetch_max(sent, Ordering::Relaxed);
                    return self.acknowledged(number, order, payment);
                }
                Posted::Refused(why) => return self.wrong(format!("{} was refused: {why}", order.key)),
                Posted::Later => _ = self.counts.put_off.fetch_add(1, Ordering::Relaxed),
                Posted::Unanswered => _ = self.counts.unanswered.fetch_add(1, Ordering::Relaxed),
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn acknowledged(self: &Arc<Self>, number: u64, order: &Order, payment: String) {
        let known = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.payments.insert(number, (payment.clone(), order.clone()))
        };
        match known {
            None => {
                self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                let asking = self.clone();
                let shop = order.shop;
                self.askers.spawn(async move { asking.ask_until_ended(payment, shop).await });
            }
            Some((before, _)) if before == payment => {}
            Some((before, _)) => self.wrong(format!("{} is {before}, and then {payment}", order.key)),
        }
    }

    async fn ask_until_ended(&self, payment: String, shop: usize) {
        while !self.gave_up.load(Ordering::Relaxed) {
            {
                let Ok(_turn) = self.asking.acquire().await else { return };
                if let Some(status) = self.client.ended(&payment, shop).await {
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    *found.statuses.entry(status).or_default() += 1;
                    self.counts.ended.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
            sleep(jittered(ASK_AGAIN_AFTER)).await;
        }
    }

    fn wrong(&self, what: String) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(what);
    }

    /// How many orders clients want to make, as far as they know yet.
    fn wanted(&self) -> u64 {
        self.orders.max(read(&self.counts.attempted))
    }

    fn open(&self) -> u64 {
        read(&self.counts.acknowledged).saturating_sub(read(&self.counts.ended))
    }

    /// Waits until that share of the payments has ended.
    pub(super) async fn reach(&self, share: f64) -> Result<()> {
        let enough = (self.orders as f64 * share).ceil();
        self.wait(async || read(&self.counts.ended) as f64 >= enough).await
    }

    /// Waits until that share of the orders was acknowledged.
    pub(super) async fn reach_acknowledged(&self, share: f64) -> Result<()> {
        let enough = (self.orders as f64 * share).ceil();
        self.wait(async || read(&self.counts.acknowledged) as f64 >= enough).await
    }

    /// Makes no more orders than planned. Those beyond were posted while something was broken.
    pub(super) fn is_enough(&self) {
        self.is_enough.store(true, Ordering::Relaxed);
    }

    /// Waits until a request was acknowledged that was sent after that moment. Answers how long after the
    /// moment that was.
    pub(super) async fn acknowledged_after(&self, moment: Instant) -> Result<Duration> {
        let since = u64::try_from(moment.duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        self.wait(async || self.sent_last.load(Ordering::Relaxed) > since).await?;
        Ok(moment.elapsed())
    }

    /// Waits until all orders are posted.
    pub(super) async fn all_posted(&self) -> Result<()> {
        self.wait(async || self.posting.load(Ordering::Relaxed) == 0).await
    }

    /// Waits until all orders are posted and all payments have ended.
    pub(super) async fn all_ended(&self) -> Result<()> {
        self.all_posted().await?;
        self.wait(async || self.open() == 0).await
    }

    /// Waits until `enough`. It is an error where nothing goes on any more.
    async fn wait(&self, enough: impl AsyncFn() -> bool) -> Result<()> {
        let progress = || (read(&self.counts.acknowledged), read(&self.counts.ended));
        let (mut last, mut last_at) = (progress(), Instant::now());
        while !enough().await {
            if progress() != last {
                (last, last_at) = (progress(), Instant::now());
            } else if last_at.elapsed() > STALLED {
                bail!(
                    "nothing was acknowledged and nothing ended for {} s: {} of {} orders acknowledged, {} ended",
                    STALLED.as_secs(),
                    last.0,
                    self.wanted(),
                    last.1
                );
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Ends all clients, whatever is still open.
    pub(super) async fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
        while self.posting.load(Ordering::Relaxed) > 0 {
            sleep(LOOK_EVERY).await;
        }
        self.askers.close();
        self.askers.wait().await;
    }

    /// How many requests the API of that number has under way.
    pub(super) fn under_way(&self, api: usize) -> u32 {
        self.client.under_way(api)
    }

    /// The history, for a script that posts by itself.
    pub(super) fn history(&self) -> &History {
        self.client.history()
    }

    /// How many requests were told to come back so far.
    pub(super) fn put_off(&self) -> u64 {
        read(&self.counts.put_off)
    }

    /// One line about the progress.
    pub(super) fn progress(&self) -> String {
        let Counts { acknowledged, ended, unanswered, put_off, .. } = &self.counts;
        // Where a script posts by itself, nothing is known of how many are wanted.
        let wanted = match self.wanted() {
            0 => String::new(),
            wanted => format!("of at least {wanted} "),
        };
        format!(
            "{} {wanted}acknowledged, {} ended; {} requests unanswered, {} put off",
            read(acknowledged),
            read(ended),
            read(unanswered),
            read(put_off)
        )
    }

    /// How the payments ended, as clients saw it.
    pub(super) fn statuses(&self) -> BTreeMap<String, u64> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).statuses.clone()
    }

    /// What clients found that must not be.
    pub(super) fn wrongs(&self) -> Vec<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).wrong.clone()
    }

    /// The order of each payment that was acknowledged.
    pub(super) fn orders(&self) -> HashMap<String, Order> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.payments.values().cloned().collect()
    }
}
